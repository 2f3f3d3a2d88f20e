"""One style for every picture, drawn with matplotlib's Figure objects alone so that a thread may draw; and how one is saved."""

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
    """Wrap a function so that it draws in this style, and leaves the caller's as it is."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        import matplotlib

        with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
            return draw(*args, **kwargs)

    return drawn


def new(width: float, height: float, rows: int = 1, columns: int = 1, **more: Any) -> tuple[Figure, list[Axes]]:
    """Return a figure and its axes in reading order; sizes are in inches."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    axes = made.subplots(rows, columns, squeeze=False, **more)
    return made, list(axes.flat)


def to_svg(made: Figure, prefix: str, label: str) -> str:
    """Return the figure for a page: its ids begin with ``prefix``, ``label`` is what a screen reader says."""
    import matplotlib
    from markupsafe import escape

    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix}):
        made.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
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


def save(made: Figure, file: Path) -> None:
    """Write a picture on white.

    Raises:
        UserError: the file can't be written.
    """
    with writing(file):
        made.savefig(file, dpi=130, facecolor="white")


def to_png(made: Figure) -> bytes:
    """Return the picture as PNG on white."""
    out = io.BytesIO()
    made.savefig(out, format="png", dpi=100, facecolor="white")
    return out.getvalue()


def safe(text: str) -> str:
    """Return a text in which matplotlib reads no mathematics."""
    return text.replace("$", r"\$")


def add_legend(axis: Axes) -> None:
    """Put a legend to the right of the axes; none where it would have more entries than anybody reads."""
    if len(axis.get_legend_handles_labels()[1]) <= MOST_ENTRIES:
        axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8)
