"""Builds the component that a text such as ``direct(p=4)`` names, and reports a plug-in's mistake in one line with its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from trainer.errors import UserError
from trainer.plugin_errors import explain
from trainer.registry import Component, resolve


def make(noun: str, text: str, *inputs: Any, check: Callable[[Any], None] | None = None) -> Any:
    """Return what the component that a call string names makes of ``inputs``.

    Args:
        noun: what such a component is called, such as encoder.
        text: the call string.
        inputs: what its function is given.
        check: refuses what a plug-in made; the project's own components are not looked at.

    Raises:
        UserError: as :func:`trainer.registry.resolve`, if a plug-in's function fails, or as ``check`` does.
    """
    component, bound = resolve(noun, text)
    made = run(component, *inputs, **bound)
    if check is not None and not component.is_built_in:
        check(made)
    return made


def needs_no_memory(noun: str, text: str) -> bool:
    """Tell whether a network can be made without memory for its weights: ours can, others may compute with theirs."""
    if text == "auto":
        return True
    component, _ = resolve(noun, text)
    return component.is_built_in and component.name != "timm"


def run(component: Component, *inputs: Any, **bound: Any) -> Any:
    """Return what a component's function returns; UserError with file and line where a plug-in's function fails."""
    if component.is_built_in:
        return component.function(*inputs, **bound)
    try:
        return component.function(*inputs, **bound)
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 - a user's function may raise anything
        raise UserError(f"the {component.noun} {component.name} failed: {explain(error)}") from None


def check_network(module: object, label: str, batch: Tensor, width: int | None, words: tuple[str, str]) -> None:
    """Refuse a plug-in's network that does not map a batch to N vectors.

    Args:
        module: the network.
        label: what messages call it, such as ``the encoder mine``.
        batch: inputs that it must take, (N, …).
        width: the length of the vectors; any from 1 on when not given.
        words: what messages call the inputs and the outputs, such as images and features.

    Raises:
        UserError: if it is no module, cannot be run, or gives anything else than floats of shape (N, width).
    """
    if not isinstance(module, nn.Module):
        raise UserError(f"{label}: expected a torch.nn.Module, got {type(module).__name__}")
    training = module.training
    inputs, outputs = words
    try:
        with torch.no_grad():
            found = module.eval()(batch)
    except Exception as error:  # noqa: BLE001 - a user's module may raise anything
        what = f"{len(batch)} {inputs} of {' × '.join(map(str, batch.shape[1:]))}"
        raise UserError(f"{label} cannot be run on {what}: {explain(error, only_users=True)}") from None
    finally:
        module.train(training)
    shape = tuple(found.shape) if isinstance(found, Tensor) and found.is_floating_point() else type(found).__name__
    expected = (len(batch), width or "D")
    if not isinstance(shape, tuple) or len(shape) != 2 or shape[0] != len(batch) or shape[1] != (width or max(1, shape[1])):
        wanted = f"({expected[0]}, {expected[1]})"
        raise UserError(f"{label}: expected {outputs} of shape {wanted} for {len(batch)} {inputs}, got {shape}")
