"""The sweep orchestrator: Ray Tune, Optuna and MLflow around :mod:`trainer`, and the command line ``alphacl``."""
