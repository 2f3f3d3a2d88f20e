"""Metrics and probes of a user's own: functions that a plug-in registers, computed beside the built-in ones.

A metric is computed every epoch from its last batch and bears its own name; a probe of frozen features is computed wherever the
built-in probes are, as ``val/NAME`` and ``test/NAME``. Neither changes what a trial computes otherwise, nor its digest.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from trainer.errors import UserError, is_number
from trainer.metrics import METRICS
from trainer.plugin_errors import explain
from trainer.probe import Features
from trainer.registry import REGISTRY, Component, F, register

OWN_GROUP = "own"  # the group of a metric's name: own/NAME
BUILT_IN = frozenset(name.partition("/")[2] for name in METRICS if name.startswith(("val/", "test/")))


def metric(higher_is_better: bool = False) -> Callable[[F], F]:
    """Register a metric: a function from (view1, view2, features) to a number, reported every epoch as ``own/NAME``.

    The views are l2-normalised embeddings of the epoch's last batch, (N, D) each; the features those of both views, (2N, F).

    Args:
        higher_is_better: whether ``search.metric`` may name it; of what should be small, return the negative.
    """
    return register("metric", {}, inputs=3, higher_is_better=higher_is_better)


def probe(function: F) -> F:
    """Register a probe: a function from (train, judged, classes) to an accuracy in percent, ``val/NAME`` and ``test/NAME``.

    Features are frozen and labelled, see :class:`trainer.probe.Features`. The held-out images are judged where the built-in
    probes judge them; the test images once, at the end, by a probe that was fitted to all labelled training images.

    Raises:
        UserError: if a built-in probe has that name.
    """
    if function.__name__ in BUILT_IN:
        raise UserError(f"the probe {function.__name__!r} of {function.__module__} is already defined in trainer.probe")
    return register("probe", {}, inputs=3, higher_is_better=True)(function)


def _number(component: Component, *arguments: object) -> float:
    """The value of a metric or probe, as a finite number or NaN. Raises UserError where it is none, or could not be computed."""
    try:
        value = component.function(*arguments)
        value = value.item() if isinstance(value, Tensor) else value
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 - a user's function may raise anything
        raise UserError(f"the {component.kind} {component.name!r} failed: {explain(error)}") from None
    if isinstance(value, bool) or not (is_number(value) or isinstance(value, float)):
        raise UserError(f"the {component.kind} {component.name!r}: expected a number, got {str(value)[:60]!r}")
    return float(value)


def own_metrics(view1: Tensor, view2: Tensor, features: Tensor) -> dict[str, float]:
    """Return the values of all registered metrics by name; one that is not finite is left out.

    Raises:
        UserError: if a metric fails, or gives no number.
    """
    found = {f"{OWN_GROUP}/{name}": _number(m, view1, view2, features) for name, m in REGISTRY["metric"].items()}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def own_probes(train: Features, judged: Features, classes: int) -> dict[str, float]:
    """Return the accuracies of all registered probes in percent, by their names without a group.

    Raises:
        UserError: if a probe fails, or its accuracy is not from 0 to 100.
    """
    found = {name: _number(component, train, judged, classes) for name, component in REGISTRY["probe"].items()}
    for name, value in found.items():
        if not 0 <= value <= 100:
            raise UserError(f"the probe {name!r}: expected an accuracy from 0 to 100 %, got {value:g}")
    return found


def own_searchable() -> tuple[str, ...]:
    """Return the full names of the registered metrics and probes that a search may choose by; of all of them higher is better."""
    metrics = (f"{OWN_GROUP}/{name}" for name, component in REGISTRY["metric"].items() if component.higher_is_better)
    return (*metrics, *(f"val/{name}" for name in REGISTRY["probe"]))
