"""Drives a sweep: Ray, Tune's events, the worker's side of a trial and the live display; begin at ``run_sweep.py``."""
