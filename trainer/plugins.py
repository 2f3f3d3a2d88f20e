"""Loads a user's own components from a module that is named under ``plugins:`` or on the command line.

Modules that installed packages declare are loaded by :func:`trainer.registry.load_entry_points`. What a plug-in's function does
wrong when it is called becomes one line in :mod:`trainer.components`, its place is found by :mod:`trainer.plugin_errors`.
"""

from __future__ import annotations

import importlib

from trainer import built_in  # noqa: F401 - what is built in is registered first: its names are taken
from trainer.errors import UserError
from trainer.plugin_errors import explain


def load_plugin(module: str) -> None:
    """Import a user's module, whose registered functions then work wherever a component is named.

    Raises:
        UserError: if the module cannot be imported.
    """
    try:
        importlib.import_module(module)
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 - a user's module may raise anything
        raise UserError(f"cannot import the plugin {module!r}: {explain(error, only_users=True)}") from None
