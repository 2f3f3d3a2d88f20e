"""The driver of a running sweep: Ray, Tune's events, the worker's side of a trial and the live display; begin at ``run.py``."""
