"""Names of trials and configurations for people to read, and the family that an objective belongs to."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from trainer.calls import FORMULA, FORMULA_PARTS, Call, parse_call
from trainer.errors import UserError
from trainer.terminal import printable


@functools.lru_cache(maxsize=4096)
def family_of(objective: str) -> str:
    """Return the family of an objective's call string: its name without hyper-parameters, ``direct`` of ``direct(p=4)``.

    What an objective is made of counts: ``alpha_of(infonce)`` and ``alpha_of(triplet)`` are two families, and so are two
    formulas. A text that is no call string is a family of its own.
    """
    try:
        call = parse_call(objective)
    except UserError:
        return objective
    inner = tuple(a for a in call.args if isinstance(a, Call))
    written = tuple((k, v) for k, v in call.kwargs if call.name == FORMULA and k in FORMULA_PARTS)
    return str(Call(call.name, inner, written))


def without_seed(config: Mapping[str, Any]) -> str:
    """Return a text that is the same for configurations which differ in their seed alone."""
    return json.dumps({key: value for key, value in config.items() if key != "seed"}, sort_keys=True)


def shown(value: Any) -> str:
    """Return a setting's value as text; a dash for None."""
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def label_of(config: Mapping[str, Any], *settings: str, separator: str = " · ") -> str:
    """Return ``direct(p=4) · tau 0.5``: the objective, its temperature where it has one, and ``settings`` that are set."""
    parts = [f"{key} {shown(config[key])}" for key in ("tau", *settings) if config.get(key) is not None]
    return separator.join([str(config["objective"]), *parts])


def trial_label(config: Mapping[str, Any]) -> str:
    """Return ``direct(p=4) · tau 0.5 · seed 0``, the name of one trial."""
    return label_of(config, "seed")


def short_name(dataset: str) -> str:
    """Return a dataset's name without the folders above it: ``cifar10-jpeg`` of ``folder:data/cifar10-jpeg``."""
    return dataset.removeprefix("folder:").rstrip("/").rpartition("/")[2] or dataset


def last_line(text: str) -> str:
    """Return the last line of an error that says something, cut to what anybody reads."""
    return printable(next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no message"), 300)
