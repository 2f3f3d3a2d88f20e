"""The exit codes of ``alphacl``, as its help text lists them."""

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
