"""Reads back what sweeps have recorded and turns it into tables, plots and reports, without Ray, MLflow or a GPU."""
