"""What is missing from a sweep's tables, why, and the command that would fill it."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any

from results.model import Table, key_of, signed
from results.records import SPACE, SweepRecord, TrialRecord, default_storage
from results.significance import Comparison
from results.table import build_tables, readable
from trainer.errors import UserError

MOST_LINES = 12  # of what is missing, under a table


@dataclass(frozen=True)
class Gap:
    """Trials of one configuration that have no figure: ``why``, and the ``command`` that would make it (empty: none would)."""

    what: str
    why: str
    command: str
    trials: tuple[TrialRecord, ...]


def selection_metric(sweep: SweepRecord) -> str:
    """The metric that the sweep chooses by: a search's own, else ``val/linear``."""
    return str(search_of(sweep).get("metric") or "val/linear")


def space_of(sweep: SweepRecord) -> dict[str, Any]:
    """The sweep's YAML; empty where there is none, or none that can be read."""
    import yaml

    try:
        space = yaml.safe_load(sweep.space)
    except yaml.YAMLError:
        return {}
    return space if isinstance(space, dict) else {}


def search_of(sweep: SweepRecord) -> dict[str, Any]:
    """The ``search:`` part of the sweep's YAML; empty for a grid."""
    found = space_of(sweep).get("search")
    return found if isinstance(found, dict) else {}


def resume_command(sweep: SweepRecord) -> str:
    """What goes on with a sweep; empty for one that only joins records."""
    if not (sweep.folder / SPACE).is_file() or sweep.meta.get("kind") == "records":
        return ""
    storage = sweep.folder.parent
    extra = "" if storage == default_storage() else f" --storage {shlex.quote(str(storage))}"
    return f"alphacl resume {shlex.quote(sweep.name)}{extra}"


def find_gaps(sweep: SweepRecord, trials: list[TrialRecord]) -> list[Gap]:
    """Every trial that is planned and has no figure, grouped by configuration and reason."""
    groups: dict[str, list[tuple[TrialRecord, str, str]]] = {}
    for trial in trials:
        if trial.status != "finished":
            what, why, command = _explain(sweep, trial)
            groups.setdefault(key_of([what, trial.status, why, command]), []).append((trial, why, command))
    gaps = [
        Gap(_what([t for t, _, _ in members]), members[0][1], members[0][2], tuple(t for t, _, _ in members))
        for members in groups.values()
    ]
    unknown = sweep.planned - len(trials)
    if unknown > 0:
        gaps.append(Gap(f"{unknown} of {sweep.planned} trials", "not begun", resume_command(sweep), ()))
    return gaps


def _explain(sweep: SweepRecord, trial: TrialRecord) -> tuple[str, str, str]:
    """What a trial is without its seed, why it has no figure, and what would make one."""
    if trial.status == "damaged":
        return trial.digest, f"damaged: {trial.problem}", ""
    what = key_of({k: v for k, v in trial.config.items() if k != "seed"})
    if trial.status == "stopped":
        epoch = (trial.stopped or {}).get("epoch", "?")
        return what, f"stopped early at epoch {epoch}: no final figure", trainer_command(trial)
    if trial.status in ("failed", "diverged"):
        return what, f"{trial.status}: {last_line(str((trial.error or {}).get('message', '')))}", trainer_command(trial)
    words = {"waiting": "not begun", "started": f"under way or interrupted, at epoch {_epoch(trial)}"}
    return what, words[trial.status], resume_command(sweep)


def _epoch(trial: TrialRecord) -> str:
    return f"{trial.reports[-1]['epoch'] if trial.reports else 0} of {trial.config['epochs']}"


def last_line(text: str) -> str:
    """The end of an error, which says what it was."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no message")


def _what(trials: list[TrialRecord]) -> str:
    if not readable(trials[:1]):
        return f"trial {trials[0].digest}"
    config = trials[0].config
    tau = "" if config.get("tau") is None else f", tau {config['tau']:g}"
    role = "confirmation of " if trials[0].role == "confirm" else ""
    seeds = ", ".join(str(t.config["seed"]) for t in trials)
    return f"{role}{config['objective']}{tau} on {config['dataset']}, seed{'s' * (len(trials) > 1)} {seeds}"


def trainer_command(trial: TrialRecord) -> str:
    """The command that makes this one trial's record by itself."""
    from trainer.config import describe_fields

    words = []
    defaults = {name: default for name, default, _ in describe_fields()}
    for name, value in trial.config.items():
        if name not in defaults or value == defaults[name] or value in (None, []):
            continue
        option = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            words.append(option if value else "--no-" + option[2:])
        else:
            text = (
                ",".join(map(str, value)) if isinstance(value, list) else value if isinstance(value, str) else json.dumps(value)
            )
            words += [option, shlex.quote(text)]
    return " ".join(["python -m trainer", *words, "--record", f"results/evidence/{trial.digest}.json"])


def sweep_tables(sweep: SweepRecord) -> list[Table]:
    """A sweep's tables with notes on what they compare and what is missing.

    Raises:
        UserError: nothing in it is finished.
    """
    trials = finished_or_refuse(sweep)
    metric = selection_metric(sweep)
    tables = build_tables(trials, metric)
    for table in tables:
        table.notes = [*selection_notes(sweep, trials, table, metric), *comparison_notes(table), *table.notes]
    if tables:
        tables[-1].notes += gap_notes(sweep, trials)
    return tables


def finished_or_refuse(sweep: SweepRecord) -> list[TrialRecord]:
    """The sweep's trials. Raises UserError where none is finished."""
    trials = sweep.trials()
    if any(t.status == "finished" for t in trials):
        return trials
    damaged = [t.problem for t in trials if t.status == "damaged"]
    more = f" ({len(damaged)} damaged: {damaged[0]})" if damaged else ""
    raise UserError(f"the sweep {sweep.name!r} has no finished trial yet{more}; see 'alphacl status {sweep.name}'")


def gap_notes(sweep: SweepRecord, trials: list[TrialRecord]) -> list[str]:
    """What is missing, as lines; the first says how much of the sweep is there."""
    gaps = find_gaps(sweep, trials)
    done = sum(t.status == "finished" for t in trials)
    planned = max(sweep.planned, len(trials))
    lines = [f"PARTIAL: {done} of {planned} trials are finished; rows marked 'k of n' are incomplete."] if done < planned else []
    stopped = [gap for gap in gaps if gap.trials and gap.trials[0].status == "stopped"]
    if stopped:  # on purpose, and perhaps many: one line
        lines.append(
            f"Stopped early, so without a final figure: {_named(stopped)}; to run one to its end: `{stopped[0].command}`"
        )
    alike: dict[tuple[str, str], list[Gap]] = {}
    for gap in gaps:
        if gap not in stopped:
            alike.setdefault((gap.why, gap.command), []).append(gap)
    for (why, command), members in list(alike.items())[:MOST_LINES]:
        lines.append(f"Missing: {_named(members)}: {why}" + (f"; run: `{command}`" if command else ""))
    if len(alike) > MOST_LINES:
        lines.append(f"Missing for {len(alike) - MOST_LINES} other reasons: more; 'alphacl report' lists all.")
    return lines


def _named(gaps: list[Gap]) -> str:
    """The first few by name, the others by their number."""
    return "; ".join(g.what for g in gaps[:4]) + (f"; and {len(gaps) - 4} more" if len(gaps) > 4 else "")


def comparison_notes(table: Table) -> list[str]:
    """What ``vs infonce`` means here, and what so many seeds can show."""
    notes: list[str] = []
    references = [r for r in table.rows if r.is_reference]
    tested = [c for r in table.rows if (c := r.against.get("test/linear")) is not None]
    if not references or not tested:
        return notes
    with_test = [c for c in tested if c.p is not None]
    name = "; ".join(r.label for r in references)
    if not with_test:
        least = min(c.n for c in tested)
        return [f"vs infonce: the difference to {name}. No test: {least} seed{'s' * (least != 1)}; a test needs 3, better 5."]
    kinds = " and ".join(sorted({c.test for c in with_test}))
    most, n = len(with_test), min(c.n for c in with_test)
    notes.append(
        f"vs infonce: the difference to {name} (InfoNCE's best on held-out images), {kinds} over seeds,"
        f" p after Holm's correction for {most} comparison{'s' * (most != 1)}; * below 0.05."
    )
    sizes = sorted(d for c in with_test if (d := c.detectable(most)) is not None)
    if sizes and n < 10:
        notes.append(
            f"With n = {n}, among {most} comparison{'s' * (most != 1)}, a difference below about {sizes[len(sizes) // 2]:.1f}"
            f" points (median over rows) can't be told from chance{_alone(with_test, most)};"
            " that the differences are normal can't be checked."
        )
    return notes


def _alone(tested: list[Comparison], most: int) -> str:
    sizes = sorted(d for c in tested if (d := c.detectable(1)) is not None)
    return f" (in a single comparison planned beforehand: {sizes[len(sizes) // 2]:.1f})" if most > 1 else ""


def selection_notes(sweep: SweepRecord, trials: list[TrialRecord], table: Table, metric: str) -> list[str]:
    """What selection does to a search's figures."""
    if table.is_confirmed:
        name = f"{metric} at selection"
        shifts = [
            r.cells[metric].mean - r.cells[name].mean for r in table.rows if r.cells[name].values and r.cells[metric].values
        ]
        if not shifts:
            return []
        mean = sum(shifts) / len(shifts)
        return [
            f"Selection effect: on fresh seeds {metric} is {signed(mean)} points from the figure at selection"
            f" (mean of {len(shifts)} configuration{'s' * (len(shifts) != 1)}); only the confirmed figures are results."
        ]
    if sweep.meta.get("kind") == "search" and not any(t.role == "confirm" for t in trials):
        return [
            f"These are a search's own trials: its best {metric} is the largest of many and flatters. Confirm the winners with"
            " fresh seeds (`confirm: {top: 3, seeds: 5}` in its YAML) before you report one."
        ]
    return []
