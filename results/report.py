"""Writes one self-contained HTML page about a sweep: summary, tables, plots, failures, how to reproduce it, and every run.

As a script: ``python results/report.py --sweep NAME [--storage DIR] [--out FILE.html]``.
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from results.options import writing
from results.plots.figures import pictures_of
from results.plots.style import to_svg
from results.record.naming import label_of, shown
from results.record.reader import SweepRecord, TrialRecord
from results.record.status import Status
from results.tables.best_of_families import best_of_families
from results.tables.build import build_tables, finished_or_refuse, readable
from results.tables.gaps import find_gaps
from results.tables.model import Row, Table, key_of, varying
from results.tables.notes import comparison_notes, selection_notes
from results.tables.paper import load_paper, paper_tables
from results.tables.render import html_table, title
from results.tables.summary import findings, progress
from trainer.metrics import COLUMNS, METRICS

TEMPLATE = Path(__file__).with_name("report_template.html")
ENVIRONMENT = ("commit", "python", "torch", "torchvision", "device", "threads", "precision")


def build_report(sweep: SweepRecord) -> str:
    """Return the HTML page of a sweep.

    Raises:
        UserError: if nothing in the sweep is finished.
    """
    import jinja2
    from markupsafe import Markup

    trials = finished_or_refuse(sweep)
    metric = sweep.metric
    runs = Runs(trials)
    parts = [_part(sweep, trials, t, metric, runs, f"f{i}") for i, t in enumerate(build_tables(trials, metric))]
    published = {d for d, _, _ in load_paper().figures}
    paper = paper_tables(sweep) if published & {str(t.config["dataset"]) for t in readable(trials)} else []
    sections = [("summary", "Summary"), ("results", "Results"), *([("paper", "Beside the paper")] if paper else [])]
    sections += [("missing", "Missing and failed"), ("reproduce", "How to reproduce"), ("runs", "Runs")]

    def notes(lines: list[str]) -> Markup:
        return (
            Markup("<ul class='notes'>{}</ul>").format(Markup("").join(Markup("<li>{}</li>").format(n) for n in lines))
            if lines
            else Markup()
        )

    environments = Counter(tuple(shown(e.get(k)) for k in ENVIRONMENT) for t in trials if (e := _environment(t)))
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True).from_string(
        TEMPLATE.read_text(encoding="utf-8")
    )
    beside = [{"title": title(t), "table": Markup(html_table(t, runs.link)), "notes": t.notes} for t in paper]
    return template.render(
        sweep=sweep, state=progress(sweep, trials), description=str(sweep.space_values.get("description", "")),
        facts=_facts(sweep, trials),
        sections=sections, parts=parts, paper=beside,
        gaps=find_gaps(sweep, trials), commands=_commands(sweep), yaml=sweep.space, fixed=_fixed(trials), notes=notes,
        environments=environments.most_common(), environment_keys=ENVIRONMENT, runs=runs.groups(), run_columns=runs.columns,
        columns=_explained(parts),
        made=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"), source=_source(sweep),
    )  # fmt: skip


class Runs:
    """The report's appendix: all runs grouped by configuration, to which rows of tables link.

    Args:
        trials: the sweep's trials.
    """

    def __init__(self, trials: list[TrialRecord]) -> None:
        self.members: dict[str, list[TrialRecord]] = {}
        for trial in trials:
            self.members.setdefault(self._key(trial), []).append(trial)
        self.ids = {key: f"run-{index}" for index, key in enumerate(self.members)}
        known = dict.fromkeys(k for t in trials if t.status == Status.FINISHED for k in t.metrics)
        self.columns = [c for c in (*COLUMNS, "untrained/linear") if c in known]

    @staticmethod
    def _key(trial: TrialRecord) -> str:
        if not readable([trial]):
            return "unreadable"
        return key_of([trial.role, {k: v for k, v in trial.config.items() if k != "seed"}])

    def link(self, row: Row) -> str:
        """Return the address of the runs behind a row; the untrained encoder's are those of its first run's group."""
        return f"#{self.ids[self._key(row.trials[0])]}" if row.trials else ""

    def groups(self) -> list[dict[str, Any]]:
        """Return the groups, ready for the template."""
        configs = [m[0].config for key, m in self.members.items() if key != "unreadable"]
        distinguishing = [k for k in varying(configs) if k not in ("objective", "tau", "seed")]
        groups = []
        for key, members in self.members.items():
            label = "cannot be read"
            if key != "unreadable":
                role = " · confirmation" if members[0].role == "confirm" else ""
                label = label_of(members[0].config, *distinguishing) + role
            groups.append({"id": self.ids[key], "label": label, "runs": [self._run(t) for t in members]})
        return groups

    def _run(self, trial: TrialRecord) -> dict[str, Any]:
        result = trial.result or {} if trial.status == Status.FINISHED else {}
        environment = result.get("environment") or {}
        scores = [result.get("metrics", {}).get(c) for c in self.columns]
        return {
            "id": trial.digest if "run" not in result else f"{trial.digest} / {result['run']}",
            "seed": trial.config["seed"] if readable([trial]) else "–",
            "status": trial.status,
            "scores": ["–" if v is None else f"{v:.2f}" for v in scores],
            "minutes": f"{result['seconds'] / 60:.1f}" if "seconds" in result else "–",
            "commit": environment.get("commit") or "–",
            "machine": ", ".join(str(environment[k]) for k in ("device", "precision") if environment.get(k)) or "–",
        }


def _part(sweep: SweepRecord, trials: list[TrialRecord], table: Table, metric: str, runs: Runs, prefix: str) -> dict[str, Any]:
    """Return one table with what belongs to it, for the template."""
    from markupsafe import Markup

    best = best_of_families(table, metric)
    several = any((r.settings.get("of") or 0) > 1 for r in best.rows)
    notes = [*selection_notes(sweep, trials, table, metric), *comparison_notes(table), *table.notes]
    return {
        "title": title(table),
        "columns": table.columns,
        "secondary": bool(table.title) and not table.is_confirmed,
        "findings": findings(sweep, trials, table, best, metric),
        "table": Markup(html_table(table, runs.link)),
        "notes": notes,
        "best": Markup(html_table(best, runs.link)) if several else "",
        "best_notes": best.notes,
        "figures": _figures(table, best if several else table, prefix),
    }


def _figures(table: Table, best: Table, prefix: str) -> list[dict[str, Any]]:
    """Return the pictures of one table for the template."""
    from markupsafe import Markup

    return [
        {"svg": Markup(to_svg(p.figure, f"{prefix}-{index}", p.caption)), "caption": p.caption, "narrow": p.narrow}
        for index, p in enumerate(pictures_of(table, best))
    ]


def _explained(parts: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return what every column of the tables is, by name."""
    names = dict.fromkeys(column.partition("@")[0] for part in parts for column in part["columns"])
    return [(name, METRICS[name].text) for name in names if name in METRICS]


def _environment(trial: TrialRecord) -> dict[str, Any]:
    return trial.environment if trial.status == Status.FINISHED else {}


def _facts(sweep: SweepRecord, trials: list[TrialRecord]) -> list[tuple[str, str]]:
    """Return the facts of the line under the title, as pairs of name and value."""
    done = [t for t in trials if t.status == Status.FINISHED]
    seeds = len({t.config["seed"] for t in done})
    hours = sum((t.result or {}).get("seconds", 0) for t in done) / 3600
    kind = str(sweep.meta.get("kind", "grid"))
    kind += f" ({sweep.search.get('sampler', 'tpe')})" if kind == "search" else ""
    facts = [("Kind", kind), ("Trials", f"{len(done)} of {max(sweep.planned, len(trials))}"), ("Seeds", str(seeds))]
    facts += [("Datasets", ", ".join(dict.fromkeys(str(t.config["dataset"]) for t in done)))]
    facts += [("Time in trials", f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.0f} min")] if hours else []
    facts += [(name, str(sweep.meta[key])) for name, key in (("Launched", "created"), ("Sweep id", "id")) if sweep.meta.get(key)]
    return facts


def _commands(sweep: SweepRecord) -> str:
    if not sweep.space or sweep.meta.get("kind") == "records":
        return ""
    name = shlex.quote(sweep.name)
    commit = (sweep.meta.get("environment") or {}).get("commit")
    first = (
        [f"git checkout {commit.removesuffix('+')}" + ("   # the sources had been edited since" if commit.endswith("+") else "")]
        if commit
        else []
    )
    return "\n".join([*first, "make setup", f"alphacl sweep {name}.yaml --name {name}", f"alphacl report {name}"])


def _fixed(trials: list[TrialRecord]) -> str:
    configs = [t.config for t in readable(trials)]
    differing = set(varying(configs))
    same = {k: c.get(k) for c in configs[:1] for k in c if k not in differing}
    return ", ".join(f"{k}={shown(v)}" for k, v in same.items() if v not in (None, []))


def _source(sweep: SweepRecord) -> str:
    if sweep.meta.get("read_from") == "MLflow":
        return "MLflow"
    return "JSON records of single runs" if sweep.meta.get("kind") == "records" else f"the sweep folder {sweep.name}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``alphacl report`` besides those that say which sweep."""
    parser.add_argument("--out", type=Path, metavar="FILE.html", help="where to (default: SWEEP.html)")


def run(arguments: argparse.Namespace) -> int:
    """Write a sweep's report; return the exit status."""
    from results.options import read_source

    sweep = read_source(arguments)
    out = arguments.out or Path(f"{sweep.name}.html")
    page = build_report(sweep)
    with writing(out):
        out.write_text(page, encoding="utf-8")
    print(f"wrote {out}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Write a sweep's report as a script; return the exit status, 2 on bad input."""
    from results.options import run_script

    return run_script("report", __doc__, add_arguments, run, argv)


if __name__ == "__main__":
    sys.exit(main())
