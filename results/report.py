"""Writes one self-contained HTML page about one sweep or several: summary, tables, plots, failures, how to reproduce, every run.

This module puts the page together out of the parts that :mod:`results.report_parts` makes; a column of scores is added in
:mod:`trainer.metrics`. As a script: ``python results/report.py --sweep NAME [OTHER …] [--storage DIR] [--out FILE.html]``.
"""

from __future__ import annotations

import argparse
import base64
import datetime
import hashlib
import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from results.options import writing
from results.plugin_sources import kept_sources
from results.record.naming import shown
from results.record.reader import SweepRecord, TrialRecord
from results.record.status import Status
from results.report_parts import MOST_GAPS, Runs, explained, listed_runs, make_part, stopped_trials
from results.tables.best_of_families import best_of_families
from results.tables.build import build_tables, finished_or_refuse, readable
from results.tables.gaps import find_gaps
from results.tables.lines import title
from results.tables.model import Table, varying
from results.tables.paper import load_paper, paper_tables
from results.tables.render import html_table, to_csv
from results.tables.summary import progress
from trainer.errors import UserError

TEMPLATE = Path(__file__).with_name("report_template.html")
SCRIPT = Path(__file__).with_name("report_sort.js")
ENVIRONMENT = ("commit", "python", "torch", "torchvision", "device", "threads", "precision")


def build_report(sweep: SweepRecord, *others: SweepRecord) -> str:
    """Return the HTML page of a sweep, or of several, each in a chapter after a table of what each of them chose.

    Raises:
        UserError: if nothing in one of the sweeps is finished.
    """
    return _page([sweep, *others])[0]


def _page(sweeps: list[SweepRecord], csv: str = "") -> tuple[str, list[Table]]:
    """Return the page, and those tables of which the page shows only the best rows.

    Args:
        sweeps: the sweeps, each a chapter.
        csv: the name of the file beside the page that holds those tables whole; empty where there is none.
    """
    import jinja2
    from markupsafe import Markup

    chapters = [_chapter(s, f"s{index}-" if len(sweeps) > 1 else "") for index, s in enumerate(sweeps, 1)]
    script = SCRIPT.read_text(encoding="utf-8")
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True).from_string(
        TEMPLATE.read_text(encoding="utf-8")
    )
    page = template.render(
        chapters=chapters,
        csv=csv,
        heading=", ".join(str(s.meta["name"]) for s in sweeps),
        environment_keys=ENVIRONMENT,
        notes=_notes,
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        made=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        source="; ".join(map(_source, sweeps)),
    )
    return page, [table for chapter in chapters for table in chapter["whole"]]


def _notes(lines: list[str]) -> str:
    from markupsafe import Markup

    items = Markup("").join(Markup("<li>{}</li>").format(line) for line in lines)
    return Markup("<ul class='notes'>{}</ul>").format(items) if lines else Markup()


def _chapter(sweep: SweepRecord, prefix: str) -> dict[str, Any]:
    """Return everything about one sweep, for the template; ids begin with ``prefix``."""
    from markupsafe import Markup

    trials = finished_or_refuse(sweep)
    tables = build_tables(trials, sweep.metric)
    bests = [best_of_families(table, sweep.metric) for table in tables]
    runs = Runs(trials, prefix, listed_runs(sweep, trials, tables, bests))
    pairs = enumerate(zip(tables, bests, strict=True))
    parts = [make_part(sweep, trials, table, best, runs, f"{prefix}f{i}") for i, (table, best) in pairs]
    published = {d for d, _, _ in load_paper().figures}
    paper = paper_tables(sweep) if published & {str(t.config["dataset"]) for t in readable(trials)} else []
    sections = [("summary", "Summary"), ("results", "Results"), *([("paper", "Beside the paper")] if paper else [])]
    sections += [("missing", "Missing, stopped and failed"), ("reproduce", "How to reproduce"), ("runs", "Runs")]
    environments = Counter(tuple(shown(e.get(k)) for k in ENVIRONMENT) for t in trials if (e := _environment(t)))
    gaps = [g for g in find_gaps(sweep, trials) if not g.trials or g.trials[0].status != Status.STOPPED]
    stopped = stopped_trials(trials, sweep.metric)
    return {
        "sweep": sweep, "id": prefix, "state": progress(sweep, trials), "facts": _facts(sweep, trials), "sections": sections,
        "description": str(sweep.space_values.get("description", "")), "parts": parts,
        "paper": [{"title": title(t), "table": Markup(html_table(t, runs.link)), "notes": t.notes} for t in paper],
        "gaps": gaps[:MOST_GAPS], "more_gaps": len(gaps[MOST_GAPS:]), "stopped": stopped[:MOST_GAPS],
        "more_stopped": len(stopped[MOST_GAPS:]), "left_out": runs.left_out, "whole": tables if runs.left_out else [],
        "commands": _commands(sweep), "yaml": sweep.space, "sources": kept_sources(sweep),
        "fixed": _fixed(trials), "environments": environments.most_common(), "runs": runs.groups(), "run_columns": runs.columns,
        "columns": explained(parts),
    }  # fmt: skip


def _environment(trial: TrialRecord) -> dict[str, Any]:
    return trial.environment if trial.status == Status.FINISHED else {}


def _facts(sweep: SweepRecord, trials: list[TrialRecord]) -> list[tuple[str, str]]:
    """Return the facts of the line under the title, as pairs of name and value."""
    done = [t for t in trials if t.status == Status.FINISHED]
    seeds = len({t.config["seed"] for t in done})
    hours = sum((t.summary or {}).get("seconds", 0) for t in done) / 3600
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
    parser.add_argument("others", nargs="*", metavar="OTHER", help="further sweeps, each in a chapter of the same page")
    parser.add_argument("--out", type=Path, metavar="FILE.html", help="where to (default: SWEEP.html; of several: sweeps.html)")


def run(arguments: argparse.Namespace) -> int:
    """Write the report of a sweep or of several; return the exit status.

    Raises:
        UserError: if there is no such sweep, nothing in one is finished, or the file cannot be written.
    """
    from results.options import read_source

    if arguments.others and arguments.join:
        raise UserError("--join: it adds to one sweep; give one sweep, or leave --join out")
    sweeps = [read_source(arguments, name) for name in (arguments.name, *arguments.others)]
    out = arguments.out or Path(f"{sweeps[0].name if len(sweeps) == 1 else 'sweeps'}.html")
    page, cut = _page(sweeps, out.with_suffix(".csv").name)
    with writing(out):
        out.write_text(page, encoding="utf-8")
    print(f"wrote {out}")
    if cut:
        with writing(out.with_suffix(".csv")):
            out.with_suffix(".csv").write_text(to_csv(cut), encoding="utf-8")
        print(f"wrote {out.with_suffix('.csv')}, with all configurations")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Write a report as a script; return the exit status, 2 on bad input."""
    from results.options import run_script

    return run_script("report", __doc__, add_arguments, run, argv)


if __name__ == "__main__":
    sys.exit(main())
