"""One contrastive run: pretrain an encoder with an α-CL objective and probe it. Knows nothing of Ray, Optuna or MLflow."""

from trainer.config import TrialConfig
from trainer.errors import ConfigError, TrialDiverged, UserError
from trainer.trial import Report, run_trial

__all__ = ["ConfigError", "Report", "TrialConfig", "TrialDiverged", "UserError", "run_trial"]
