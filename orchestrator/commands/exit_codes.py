"""Exit codes of ``alphacl``."""

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
