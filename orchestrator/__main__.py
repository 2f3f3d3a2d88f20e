"""``python -m orchestrator`` is the same program as ``alphacl``."""

import sys

from orchestrator.cli import main

sys.exit(main())
