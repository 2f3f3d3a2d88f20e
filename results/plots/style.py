"""The style of every picture, and saving one; pictures are matplotlib's Figure objects alone, so that a thread may draw."""

from __future__ import annotations

import functools
import io
import math
import re
import textwrap
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from results.options import writing

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")
R = TypeVar("R")
INK, RULE = "#010203", "#a0a1a2"  # stand-ins: in a page they become its own text and line colours
BLUE, ORANGE, GREEN, GREY = "#3b7dd8", "#d9822b", "#2e9e6b", "#8a8f98"
COLORS = (BLUE, ORANGE, GREEN, "#b0569c", "#c0504d", "#7a68c9")
MOST_ENTRIES = 12  # of a legend
ACROSS = 4  # panels side by side
TITLE = 34  # characters that fit above a panel

_tips: weakref.WeakKeyDictionary[Figure, dict[str, str]] = weakref.WeakKeyDictionary()


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


def new_panels(count: int) -> tuple[Figure, list[Axes]]:
    """Return a figure of so many panels with common axes, and the panels; what is left of the last row is hidden."""
    columns = min(ACROSS, max(1, count))
    rows = max(1, math.ceil(count / columns))
    figure, axes = new(max(3.6, 2.3 * columns), 0.7 + 1.6 * rows, rows, columns, sharex=True, sharey=True)
    for axis in axes[count:]:
        axis.set_visible(False)
    for axis in axes[max(0, count - columns) : count]:
        axis.tick_params(labelbottom=True)
    return figure, axes


def add_title(axis: Axes, text: str) -> None:
    """Write a title above a panel, in as many lines as its width asks for."""
    axis.set_title("\n".join(textwrap.wrap(safe(text), TITLE)[:3]), fontsize=8)


def add_tip(artist: Artist, text: str) -> None:
    """Give an artist a text that a page shows when the pointer is on it; in a PNG there is none."""
    figure = artist.get_figure(root=True)
    tips = _tips.setdefault(figure, {})  # type: ignore[arg-type]
    name = f"tip-{len(tips)}"
    artist.set_gid(name)
    tips[name] = text


def to_svg(figure: Figure, prefix: str, label: str) -> str:
    """Return a figure as SVG for a page.

    It is as wide as the figure's inches say, and narrower where the page is; what :func:`add_tip` said is shown on hover.

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
    tips = _tips.get(figure, {})
    text = re.sub(
        r'<g id="(tip-\d+)">', lambda found: f'<g id="{found[1]}" class="tip"><title>{escape(tips[found[1]])}</title>', text
    )
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = text.replace("url(#", f"url(#{prefix}-").replace('href="#', f'href="#{prefix}-')
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px system-ui, sans-serif", text)
    text = text.replace("#010203", "currentColor").replace("#a0a1a2", "var(--rule, #a0a1a2)")
    size = re.search(r'viewBox="([^"]*)"', text)
    assert size is not None
    width = float(size[1].split()[2]) * 96 / 72  # CSS pixels: a letter is as large in every picture
    head = f'<svg viewBox="{size[1]}" style="max-width:{width:.0f}px" role="img" aria-label="{escape(label)}">'
    return re.sub(r"<svg [^>]*>", lambda _: head, text, count=1)


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
