"""Prints and draws accuracy against a swept hyper-parameter, per family of objectives: mean and band over seeds.

As a script: ``python results/sensitivity.py --sweep NAME [--over tau] [--metric test/linear] [--out FILE.png|svg]``.
``--over`` is any setting of a trial (``tau``, ``lr``, ``batch_size``) or a hyper-parameter of objectives (``p``, ``q``, ``eps``).
"""

from __future__ import annotations

import argparse
import heapq
import sys
from pathlib import Path

from results.tables.build import readable
from results.tables.series import Series, series_of
from trainer.errors import UserError
from trainer.metrics import PRIMARY

MOST_POINTS = 500  # that are printed


def to_markdown(series: list[Series], over: str, metric: str) -> str:
    """Return the series as a Markdown table, a row per value of the hyper-parameter.

    Args:
        series: the series.
        over: the hyper-parameter's name.
        metric: the metric's name.
    """
    from results.tables.render import markdown

    lines = [f"| family | configuration | {markdown(over)} | n | {markdown(metric)} |", "|---|---|---:|---:|---:|"]
    points = [(curve, value, cell) for curve in series for value, cell in curve.points]
    shown = heapq.nlargest(MOST_POINTS, points, key=lambda point: point[2].mean) if len(points) > MOST_POINTS else points
    for curve, value, cell in shown:
        at = "–" if value is None else f"{value:g}"
        lines.append(f"| {markdown(curve.family)} | {markdown(curve.label)} | {at} | {len(cell.values)} | {cell.text()} |")
    more = f"\nThe best {len(shown)} of {len(points):,} points; `alphacl table NAME --format csv` has all configurations.\n"
    return "\n".join(lines) + "\n" + (more if len(shown) < len(points) else "")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``alphacl sensitivity`` besides those that say which sweep."""
    parser.add_argument(
        "--over", default="tau", metavar="P", help="the hyper-parameter, e.g. tau, lr, p, q (default: %(default)s)"
    )
    parser.add_argument("--metric", default=PRIMARY, help="(default: %(default)s)")
    parser.add_argument("--dataset", help="which one, where the sweep has several")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the picture, .png or .svg (default: sensitivity_P.png)")


def run(arguments: argparse.Namespace) -> int:
    """Print the scores and draw the picture; return the exit status."""
    from results.options import read_source
    from results.plots.figures import sensitivity
    from results.plots.style import save

    sweep = read_source(arguments)
    out = arguments.out or Path(f"sensitivity_{arguments.over}.png")
    if out.suffix not in (".png", ".svg"):
        raise UserError(f"--out: expected a file that ends in .png or .svg, got {out}")
    trials = [t for t in readable(sweep.trials()) if t.role != "confirm"]
    datasets = list(dict.fromkeys(str(t.config["dataset"]) for t in trials))
    if (len(datasets) > 1 and arguments.dataset is None) or (arguments.dataset not in (None, *datasets)):
        raise UserError(f"--dataset: expected one of {', '.join(datasets) or 'none'}, got {arguments.dataset}")
    chosen = [t for t in trials if t.config["dataset"] == (arguments.dataset or datasets[0])] if datasets else []
    series = series_of(chosen, arguments.over, arguments.metric)
    print(to_markdown(series, arguments.over, arguments.metric), end="")
    save(sensitivity(series, chosen, arguments.over, arguments.metric), out)
    print(f"\nwrote {out}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Print and draw a sweep's sensitivity as a script; return the exit status, 2 on bad input."""
    from results.options import run_script

    return run_script("sensitivity", __doc__, add_arguments, run, argv)


if __name__ == "__main__":
    sys.exit(main())
