"""Writes and reads the sweep folder, which is the record of a sweep; reads MLflow and JSON records alike."""
