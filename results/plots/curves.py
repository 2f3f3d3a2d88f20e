"""Draws learning curves: a panel per configuration."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from results.plots.style import BLUE, INK, ORANGE, add_tip, add_title, new_panels, styled
from results.record.status import Status
from results.tables.model import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def curves(rows: list[Row], metric: str, unfinished: bool = False) -> Figure | None:
    """Draw learning curves: a panel per row, the mean over seeds by epoch with a band of ± std, InfoNCE's mean behind each.

    Returns None where no row has the metric.

    Args:
        rows: the configurations.
        metric: the metric of the y axis.
        unfinished: whether curves take in what trials have reported that have not finished.
    """
    by_label = {r.label: c for r in rows if (c := _curve(r, metric, unfinished))}
    if not by_label:
        return None
    reference = next((by_label.get(r.label) for r in rows if r.is_reference), None)
    figure, axes = new_panels(len(by_label))
    for axis, (label, curve) in zip(axes, by_label.items(), strict=False):
        x = sorted(curve)
        mean = [statistics.fmean(curve[e]) for e in x]
        std = [statistics.stdev(curve[e]) if len(curve[e]) > 1 else 0.0 for e in x]
        if reference:
            axis.plot(sorted(reference), [statistics.fmean(reference[e]) for e in sorted(reference)], color=ORANGE, linewidth=1)
        (line,) = axis.plot(x, mean, "-", color=BLUE, linewidth=1.5)
        add_tip(
            line, f"{label}: {metric} {mean[-1]:.2f} at epoch {x[-1]}, best {max(mean):.2f} at epoch {x[mean.index(max(mean))]}"
        )
        low, high = ([m + sign * s for m, s in zip(mean, std, strict=True)] for sign in (-1, 1))
        axis.fill_between(x, low, high, color=BLUE, alpha=0.18, linewidth=0)
        add_title(axis, label)
        axis.locator_params(axis="x", integer=True, nbins=5)
    figure.supxlabel("epoch (0: untrained)", fontsize=9, color=INK)
    figure.supylabel(metric, fontsize=9, color=INK)
    return figure


def _curve(row: Row, metric: str, unfinished: bool) -> dict[int, list[float]]:
    """Return a metric's values over seeds, by epoch."""
    curve: dict[int, list[float]] = {}
    for trial in row.trials:
        going_on = trial.reports if unfinished and trial.status not in (Status.FINISHED, Status.DAMAGED) else []
        reports = trial.history if trial.status == Status.FINISHED else going_on
        for report in reports:
            if isinstance(report.get(metric), (int, float)):
                curve.setdefault(int(report["epoch"]), []).append(report[metric])
    return curve
