"""The commands of ``alphacl``, one module for each group; :mod:`orchestrator.cli` defines their options."""
