"""What sweeps left behind, read back: records, tables. Needs neither Ray nor MLflow nor a GPU."""
