"""Builds series of scores against one hyper-parameter, per family of objectives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from results.record.naming import family_of, shown
from results.record.reader import TrialRecord
from results.record.status import Status
from results.tables.build import readable
from results.tables.cells import cell_of, score
from results.tables.model import Cell, key_of, varying
from trainer.calls import Call, parse_call
from trainer.errors import UserError, is_number


@dataclass(frozen=True)
class Series:
    """The scores of one configuration as one hyper-parameter varies.

    Args:
        family: the objective's family.
        label: the objective without the hyper-parameter, and the settings that tell the series from others.
        points: pairs of the hyper-parameter's value and the cell over seeds, by value. Where the objective has no such
            hyper-parameter there is one point, whose value is None.
    """

    family: str
    label: str
    points: tuple[tuple[float | None, Cell], ...]


def series_of(trials: list[TrialRecord], over: str, metric: str) -> list[Series]:
    """Group finished trials into series; trials that differ in the hyper-parameter and the seed alone share one.

    Args:
        trials: the trials of one dataset.
        over: a setting, such as ``tau``, or a hyper-parameter of objectives, such as ``p``.
        metric: the metric of the scores.

    Raises:
        UserError: if no finished trial has the hyper-parameter, or it is no number.
    """
    done = [t for t in readable(trials) if t.status == Status.FINISHED and score(t, metric) is not None]
    groups: dict[str, dict[float | None, list[TrialRecord]]] = {}
    rests: dict[str, dict[str, Any]] = {}
    for trial in done:
        value, rest = _split(trial.config, over)
        if value is not None and not is_number(value):
            raise UserError(f"--over {over}: expected a hyper-parameter that is a number, got {over}={value!r}")
        key = key_of(rest)
        rests[key] = rest
        groups.setdefault(key, {}).setdefault(None if value is None else float(value), []).append(trial)
    if not any(value is not None for by_value in groups.values() for value in by_value):
        known = sorted({k for t in done for k, v in _numbers(t.config).items() if v is not None} - {"seed"})
        raise UserError(f"--over {over}: no finished trial has {over} with a score {metric}; known: {', '.join(known) or 'none'}")
    distinguishing = [k for k in varying(list(rests.values())) if k not in ("objective", "read_at")]
    series = []
    for key, by_value in groups.items():
        rest = rests[key]
        extra = [f"{k} {shown(rest.get(k))}" for k in distinguishing if rest.get(k) is not None]
        points = [(value, cell_of(members, metric)) for value, members in by_value.items()]
        points.sort(key=lambda point: (point[0] is not None, point[0] or 0.0))
        series.append(Series(family_of(rest["objective"]), ", ".join([rest["objective"], *extra]), tuple(points)))
    return series


def _split(config: dict[str, Any], over: str) -> tuple[Any, dict[str, Any]]:
    """Return a hyper-parameter's value, and the configuration without it and the seed."""
    rest = {k: v for k, v in config.items() if k != "seed"}
    if over in rest:
        return rest.pop(over), rest
    call = parse_call(_spelled_out(config))
    value = dict(call.kwargs).get(over)
    if value is not None:
        rest["objective"] = str(Call(call.name, call.args, tuple((k, v) for k, v in call.kwargs if k != over)))
    return value, rest


def _spelled_out(config: dict[str, Any]) -> str:
    """Return the objective with its defaults written out, where it can be built here."""
    from trainer.objectives import make_objective

    try:
        return make_objective(config["objective"], config.get("tau")).name
    except UserError:
        return str(config["objective"])


def _numbers(config: dict[str, Any]) -> dict[str, Any]:
    inside = dict(parse_call(_spelled_out(config)).kwargs)
    return {k: v for k, v in {**config, **inside}.items() if is_number(v)}
