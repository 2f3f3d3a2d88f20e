"""Prints two sweeps side by side: the configurations that both have, their differences with a paired test, and what else differs.

As a script: ``python results/compare.py A B [--metric test/linear] [--format md|csv|html|tex]``.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

from results.options import add_source, read_source, run_parsed
from results.record.naming import label_of, shown
from results.record.reader import SweepRecord, TrialRecord
from results.record.status import Status
from results.table import FORMATS
from results.tables import significance
from results.tables.build import finished_or_refuse, readable, settings_of
from results.tables.cells import cell_of, score
from results.tables.model import Row, Table, key_of
from trainer.errors import UserError
from trainer.metrics import PRIMARY
from trainer.options import Parser

SAME = "Settings and environment are the same in both."
WHERE = ("commit", "python", "torch", "torchvision", "device", "threads", "precision")


@dataclass(frozen=True)
class Difference:
    """A setting, or a fact of the environment, that is not the same in both sweeps.

    Args:
        name: the name of the setting or fact.
        first: its value in the first sweep, as text.
        second: its value in the second sweep, as text.
    """

    name: str
    first: str
    second: str


def compare_sweeps(a: SweepRecord, b: SweepRecord, metric: str = PRIMARY) -> tuple[list[Table], list[Difference]]:
    """Return tables per dataset of the configurations that both sweeps have, and what differs between the sweeps as a whole.

    A setting but the dataset that each sweep holds at one value, another in each, is a difference of the sweeps; all others
    must agree for two configurations to match. Seeds are paired where three are shared.

    Args:
        a: the first sweep.
        b: the second sweep; differences are its scores minus the first's.
        metric: the metric that is compared.

    Raises:
        UserError: if one has nothing finished, or they share no configuration.
    """
    first, second = (_measured(s, metric) for s in (a, b))
    differing = _differing(first, second)
    ignored = (*(d.name for d in differing if d.name != "dataset"), "seed", "read_at")
    names = _names(a, b)
    tables = []
    groups = [_groups(trials, ignored) for trials in (first, second)]
    shared = [key for key in groups[0] if key in groups[1]]
    if not shared:
        raise UserError(f"{a.name} and {b.name} have no configuration in common; they differ in {_listed(differing)}")
    both = [groups[side][key] for key in shared for side in (0, 1)]
    for dataset in dict.fromkeys(str(m[0].config["dataset"]) for m in both):
        keys = [k for k in shared if str(groups[0][k][0].config["dataset"]) == dataset]
        trials = [t for k in keys for t in groups[0][k]]
        settings = settings_of(trials, ignored)
        rows = [_row(settings, names, groups[0][k], groups[1][k], metric) for k in keys]
        tables.append(_finish(Table(dataset, settings, [f"{metric}, {n}" for n in names], rows), names))
    for name, mine, theirs in ((names[0], groups[0], groups[1]), (names[1], groups[1], groups[0])):
        alone = [_label(m[0]) for key, m in mine.items() if key not in theirs]
        if alone:
            more = f" and {len(alone) - 8} more" if len(alone) > 8 else ""
            tables[-1].notes.append(f"Only in {name}: {', '.join(alone[:8])}{more}.")
    return tables, differing + _environments(first, second)


def _names(a: SweepRecord, b: SweepRecord) -> tuple[str, str]:
    """Return the sweeps' names, with their folders where two storages hold the same name."""
    return (a.name, b.name) if a.name != b.name else (f"{a.name} (A: {a.folder.parent})", f"{b.name} (B: {b.folder.parent})")


def _measured(sweep: SweepRecord, metric: str) -> list[TrialRecord]:
    """Return the finished trials that have the score; a search's confirmed ones where it has them."""
    done = [t for t in readable(finished_or_refuse(sweep)) if t.status == Status.FINISHED and score(t, metric) is not None]
    if not done:
        raise UserError(f"the sweep {sweep.name!r} has no score {metric!r}")
    return [t for t in done if t.role == "confirm"] or done


def _differing(first: list[TrialRecord], second: list[TrialRecord]) -> list[Difference]:
    differences = []
    for name in dict.fromkeys(k for t in (*first, *second) for k in t.config):
        sides = [{key_of(t.config.get(name)) for t in side} for side in (first, second)]
        if name not in ("seed", "objective") and all(len(side) == 1 for side in sides) and sides[0] != sides[1]:
            differences.append(Difference(name, shown(first[0].config.get(name)), shown(second[0].config.get(name))))
    return differences


def _environments(first: list[TrialRecord], second: list[TrialRecord]) -> list[Difference]:
    differences = []
    for name in WHERE:
        sides = [
            ", ".join(sorted({str(e[name]) for t in side if (e := t.environment).get(name) is not None}))
            for side in (first, second)
        ]
        if sides[0] != sides[1]:
            differences.append(Difference(name, *(s or "unknown" for s in sides)))
    return differences


def _groups(trials: list[TrialRecord], ignored: tuple[str, ...]) -> dict[str, list[TrialRecord]]:
    groups: dict[str, list[TrialRecord]] = {}
    for trial in trials:
        groups.setdefault(
            key_of({k: v for k, v in sorted(trial.config.items()) if k not in ignored and v is not None}), []
        ).append(trial)
    return groups


def _row(settings: list[str], names: tuple[str, str], mine: list[TrialRecord], theirs: list[TrialRecord], metric: str) -> Row:
    row = Row({s: mine[0].config.get(s) for s in settings}, len(mine), len(mine), trials=mine)
    for name, members in zip(names, (mine, theirs), strict=True):
        row.cells[f"{metric}, {name}"] = cell_of(members, metric)
    return row


def _finish(table: Table, names: tuple[str, str]) -> Table:
    """Add the tests of a table's rows, second sweep minus first, corrected together, and the note on them."""
    left, right = table.columns
    table.versus = ("B − A", right)
    comparisons = significance.correct([significance.compare(r.cells[right].by_seed, r.cells[left].by_seed) for r in table.rows])
    for row, comparison in zip(table.rows, comparisons, strict=True):
        if comparison is not None:
            row.against[right] = comparison
    tested = [c for c in comparisons if c is not None and c.p is not None]
    tests = " and ".join(sorted({c.test for c in tested}))
    text = f"{tests} over seeds, p after Holm's correction for {len(tested)} comparisons."
    reasons = "; ".join(sorted({c.reason for c in comparisons if c is not None and c.reason}))
    none = f"no test: {reasons or 'no configuration has a seed in both'}."
    table.notes.append(f"B − A: {names[1]} minus {names[0]}; {text if tested else none}")
    return table


def _label(trial: TrialRecord) -> str:
    return f"{label_of(trial.config, separator=' ')} ({trial.config['dataset']})"


def _listed(differing: list[Difference]) -> str:
    return ", ".join(f"{d.name} ({d.first} and {d.second})" for d in differing) or "objectives or several settings at once"


def difference_table(differing: list[Difference], names: tuple[str, str]) -> str:
    """Return what differs between two sweeps as a Markdown table."""
    from results.tables.render import markdown

    if not differing:
        return f"{SAME}\n"
    lines = [f"| what differs | {markdown(names[0])} | {markdown(names[1])} |", "|---|---|---|"]
    lines += [f"| {markdown(d.name)} | {markdown(d.first)} | {markdown(d.second)} |" for d in differing]
    return "\n".join(lines) + "\n"


def difference_notes(differing: list[Difference]) -> list[str]:
    """Return what differs between two sweeps as notes, a sentence each."""
    return [f"Differs: {d.name}: {d.first} and {d.second}." for d in differing]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``alphacl compare``, its two sweeps among them."""
    for name in "AB":
        parser.add_argument(name.lower(), metavar=name, help="a sweep's name, or the path of its folder")
    parser.add_argument("--metric", default=PRIMARY, help="(default: %(default)s)")
    parser.add_argument("--format", choices=FORMATS, help="md, csv, tex or html (default: drawn on the terminal; as a script md)")
    add_source(parser, name=False)


def run(arguments: argparse.Namespace) -> int:
    """Print two sweeps side by side; return the exit status."""
    from results.tables.render import RENDERERS

    a, b = (read_source(arguments, name) for name in (arguments.a, arguments.b))
    tables, differing = compare_sweeps(a, b, arguments.metric)
    if arguments.format in (None, "md"):
        print(difference_table(differing, _names(a, b)))
    else:
        tables[-1].notes += difference_notes(differing)
    print(RENDERERS[arguments.format or "md"](tables), end="")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Compare two sweeps as a script; return the exit status, 2 on bad input."""
    parser = Parser(prog="results/compare.py", description=(__doc__ or "").partition("\n")[0])
    add_arguments(parser)
    return run_parsed(parser, run, argv)


if __name__ == "__main__":
    sys.exit(main())
