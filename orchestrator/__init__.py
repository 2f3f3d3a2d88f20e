"""Ray Tune, Optuna and MLflow around :mod:`trainer`, and the command line ``alphacl``."""

import os

# Before Ray is imported: Tune's own loggers write per trial what the sweep folder holds already.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the new one prints a box even when it is to be silent
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")
