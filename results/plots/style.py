"""The style of every picture, and saving one; pictures are matplotlib's Figure objects alone, so that a thread may draw."""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from results.options import writing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")
R = TypeVar("R")
INK, RULE = "#010203", "#a0a1a2"  # stand-ins: in a page they become its own text and line colours
BLUE, ORANGE, GREEN, GREY = "#3b7dd8", "#d9822b", "#2e9e6b", "#8a8f98"
COLORS = (BLUE, ORANGE, GREEN, "#b0569c", "#c0504d", "#7a68c9")
MOST_ENTRIES = 12  # of a legend


STYLE = {
    "font.size": 9, "axes.titlesize": 9.5, "axes.edgecolor": RULE, "axes.labelcolor": INK, "xtick.color": INK,
    "ytick.color": INK, "text.color": INK, "grid.color": RULE, "axes.grid": True, "grid.alpha": 0.35, "axes.axisbelow": True,
    "axes.spines.top": False, "axes.spines.right": False, "figure.facecolor": "none", "axes.facecolor": "none",
    "legend.frameon": False, "legend.fontsize": 6.5, "svg.fonttype": "none", "font.family": "sans-serif",
}  # fmt: skip


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Wrap a function so that it draws in this module's style and leaves the caller's style as it is."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        import matplotlib

        with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
            return draw(*args, **kwargs)

    return drawn


def new(width: float, height: float, rows: int = 1, columns: int = 1, **more: Any) -> tuple[Figure, list[Axes]]:
    """Return a new figure and its axes in reading order.

    Args:
        width: the figure's width in inches.
        height: its height in inches.
        rows: rows of axes.
        columns: columns of axes.
        more: passed to matplotlib's ``Figure.subplots``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **more)
    return figure, list(axes.flat)


def to_svg(figure: Figure, prefix: str, label: str) -> str:
    """Return a figure as SVG for a page.

    Args:
        figure: the figure.
        prefix: what the ids inside begin with, so that two figures of a page do not collide.
        label: what a screen reader says.
    """
    import matplotlib
    from markupsafe import escape

    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = out.getvalue()[out.getvalue().index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns:\w+="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = text.replace("url(#", f"url(#{prefix}-").replace('href="#', f'href="#{prefix}-')
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px system-ui, sans-serif", text)
    text = text.replace("#010203", "currentColor").replace("#a0a1a2", "var(--rule, #a0a1a2)")
    return re.sub(
        r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', rf'<svg viewBox="\1" role="img" aria-label="{escape(label)}">', text, count=1
    )


def save(figure: Figure, file: Path) -> None:
    """Write a figure on white into a file, whose suffix says in which format.

    Raises:
        UserError: if the file can't be written.
    """
    with writing(file):
        figure.savefig(file, dpi=130, facecolor="white")


def to_png(figure: Figure) -> bytes:
    """Return a figure as PNG on white."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=100, facecolor="white")
    return out.getvalue()


def safe(text: str) -> str:
    """Return a text escaped so that matplotlib reads no mathematics in it."""
    return text.replace("$", r"\$")


def add_legend(axis: Axes) -> None:
    """Put a legend to the right of the axes; none where it would have more than :data:`MOST_ENTRIES` entries."""
    if len(axis.get_legend_handles_labels()[1]) <= MOST_ENTRIES:
        axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8)
