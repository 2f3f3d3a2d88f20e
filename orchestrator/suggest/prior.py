"""Tells a study what it is to know before its sampler suggests anything: settings to try first, and another sweep's trials."""

from __future__ import annotations

from typing import Any

import optuna

from results.record.lookup import find_sweep
from results.record.reader import SweepRecord, TrialRecord
from results.record.status import Status
from results.tables.build import group, readable
from results.tables.cells import cell_of
from search_spaces import SweepSpec
from search_spaces.domains import contains
from search_spaces.spec import Branch
from trainer.calls import parse_call

WARM = "warm_start"  # the attribute of a study's trial that is another sweep's: the digest of the first of its trials


def enqueue(study: optuna.Study, spec: SweepSpec) -> None:
    """Queue the settings that the space's ``enqueue`` lists, unless the study has them; a family's study takes its own."""
    wanted = spec.enqueued()
    known = [t.system_attrs.get("fixed_params") for t in study.get_trials(deepcopy=False)] if wanted else []
    for params in wanted:
        if params not in known:
            study.enqueue_trial(params)


def warm_start(study: optuna.Study, spec: SweepSpec, record: SweepRecord) -> str:
    """Tell a study the finished trials of the sweep that ``--warm-start`` named, those it has been told excepted.

    Trials that differ in their seed alone count as one, by the mean of the metric. What the space does not hold is left out.

    Args:
        study: the study.
        spec: the search that it is of.
        record: the sweep that it is of, whose ``sweep.json`` names the other sweep.

    Returns a line that says how many were told; empty where nothing was to be told.

    Raises:
        UserError: if there is no such sweep any more.
    """
    name = record.meta.get("warm_start")
    if not name or spec.search is None:
        return ""
    told = {t.user_attrs[WARM] for t in study.get_trials(deepcopy=False) if WARM in t.user_attrs}
    if told:
        return ""
    other = find_sweep(record.folder.parent, str(name))
    metric, fits, groups = spec.search.metric, 0, group([t for t in readable(other.trials())], ("seed",))
    differing: set[str] = set()
    for members in groups:
        done = [t for t in members if t.status == Status.FINISHED and t.metrics.get(metric) is not None]
        params = params_of(spec, done[0]) if done else None
        if params is None:
            continue
        fixed = optuna.trial.FixedTrial(params)
        config = spec.suggest(fixed).to_dict()  # which asks for just what the study would be asked for
        differing |= {k for k, v in config.items() if k not in ("seed", "objective") and done[0].config.get(k) != v}
        value = cell_of(done, metric).mean
        study.add_trial(
            optuna.trial.create_trial(
                params=fixed.params, distributions=fixed.distributions, value=value, user_attrs={WARM: done[0].digest}
            )
        )
        fits += 1
    but = f" (made with other {', '.join(sorted(differing))})" if differing else ""
    return f"the study was told {fits} of {len(groups)} configurations of {other.name}{but}"


def params_of(spec: SweepSpec, trial: TrialRecord) -> dict[str, Any] | None:
    """Return a trial's configuration as a study's parameters; None where the space does not hold it."""
    for branch in spec.branches:
        values = _values(spec, branch, trial)
        if values is not None:
            return spec.as_params(branch, values)
    return None


def _values(spec: SweepSpec, branch: Branch, trial: TrialRecord) -> dict[str, Any] | None:
    """Return the values of a branch's domains that give a trial's configuration; None where they do not hold it."""
    call, dataset = parse_call(str(trial.config["objective"])), spec.fixed.get("dataset")
    given = dict(call.kwargs)
    if call.name != branch.call.name or call.args != branch.call.args:
        return None
    if any(given.get(key) != value for key, value in branch.call.kwargs):
        return None
    if dataset is not None and dataset != trial.config["dataset"]:
        return None
    values = {}
    for name, domain in spec.domains_of(branch).items():
        if name == "seed":
            continue
        value = given.get(name) if name in branch.own and name != "tau" else trial.config.get(name)
        if not contains(domain, value):
            return None
        values[name] = value
    return values
