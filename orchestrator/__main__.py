"""Run ``alphacl`` as ``python -m orchestrator``: both are the same program."""

import sys

from orchestrator.cli import main

sys.exit(main())
