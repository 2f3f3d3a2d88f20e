"""What decides which trial runs next and which stops early: searchers, the Optuna study and successive halving."""
