"""Prints accuracy tables on a terminal of any width: columns that do not fit are left out in a stated order, no figure is cut."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from results.tables.lines import Line, body, heading, title
from results.tables.model import AT_SELECTION, Table
from trainer.metrics import PRIMARY

STYLES = {"best": "bold green", "second": "italic", "": ""}
NARROW = 18  # the fewest characters to which an objective's text is broken where the table is wider than the terminal
FRAME = 3  # characters that a column takes besides its text


def print_tables(tables: list[Table], console: Console) -> None:
    """Print accuracy tables with their notes; the best mean of a column is in bold and the second in italics.

    Where a table is wider than the console, objectives and headings are broken into lines, then columns are left out and named
    below: first held-out metrics that the sweep does not choose by, then test metrics besides those that rows are compared by,
    the metric that it chooses by, how many configurations were tried, the figure at selection, and test/linear where rows are
    compared by another metric. What is still too wide is printed as a block per row.

    Args:
        tables: the tables.
        console: where they are printed.
    """
    for table in tables:
        console.print(Text(f"{title(table)}: top-1 accuracy in %, mean ± std over n seeds", style="bold"))
        heads, lines = heading(table), body(table)
        kept, breaks_at = fit(table, heads, lines, console.width)
        if kept:
            console.print(_grid(table, heads, lines, kept, breaks_at))
            left_out = [heads[index] for index in range(len(heads)) if index not in kept]
        else:
            _print_blocks(table, heads, lines, console)
            left_out = []
        if left_out:
            names = ", ".join(left_out)
            console.print(Text(f"Left out, to fit {console.width} columns: {names}; '--format md' has all.", style="dim"))
        for note in table.notes:
            console.print(Text(note.replace("`", "'"), style="dim"))


def fit(table: Table, heads: list[str], lines: list[Line], width: int) -> tuple[list[int], int | None]:
    """Return which columns of a table fit a width, and to how many characters objectives are to be broken, None for not at all.

    Args:
        table: the table.
        heads: its headings.
        lines: its body.
        width: how many characters there are.

    Returns:
        The indexes of the columns, in order; none where not even the least that a row needs fits.
    """
    widths = [max(len(texts[index]) for texts in (heads, *(line.texts for line in lines))) for index in range(len(heads))]
    kept = list(range(len(heads)))

    def total() -> int:
        return sum(widths[index] + FRAME for index in kept) + 1

    if total() <= width:
        return kept, None
    widths = [
        max(len(text) for text in (*_broken(heads[index]).split("\n"), *(line.texts[index] for line in lines)))
        for index in range(len(heads))
    ]
    longest = widths[0]
    widths[0] = min(longest, NARROW)
    for index in gives_way(table, heads):
        if total() <= width:
            break
        kept.remove(index)
    spare = width - total()
    return (kept if spare >= 0 else []), min(longest, widths[0] + max(0, spare))


def gives_way(table: Table, heads: list[str]) -> list[int]:
    """Return the columns that a narrow terminal does without, the first to go first."""
    first, last = len(table.settings) + 1, len(table.settings) + 1 + len(table.columns)
    needed = {PRIMARY, table.selected_by, table.versus[1], table.selected_by + AT_SELECTION}
    scores = [index for index in reversed(range(first, last)) if heads[index] not in needed]
    held_out = [index for index in scores if not heads[index].startswith("test/")]
    others = [index for index in scores if index not in held_out]
    chosen_by = [index for index in range(first, last) if heads[index] == table.selected_by != table.versus[1]]
    tried = [index for index in range(first - 1) if heads[index] in ("tried", "of")]
    selection = [index for index in range(first, last) if heads[index].endswith(AT_SELECTION)]
    linear = [index for index in range(first, last) if heads[index] == PRIMARY != table.versus[1]]
    return [*held_out, *others, *chosen_by, *tried, *selection, *linear]


def _broken(heading: str) -> str:
    """Return a heading in two lines where it is a metric at selection."""
    return heading.replace(AT_SELECTION, "\n" + AT_SELECTION.strip())


def _grid(table: Table, heads: list[str], lines: list[Line], kept: list[int], breaks_at: int | None) -> Grid:
    grid = Grid()
    for index in kept:
        is_text = index < len(table.settings)
        folds = breaks_at is not None and index == 0
        grid.add_column(
            Text(heads[index] if breaks_at is None else _broken(heads[index])),
            justify="left" if is_text else "right",
            no_wrap=not folds,
            overflow="fold" if folds else None,  # type: ignore[arg-type]
            max_width=breaks_at if folds else None,
        )
    for line in lines:
        grid.add_row(*(Text(line.texts[index], style=STYLES[line.marks[index]]) for index in kept))
    return grid


def _print_blocks(table: Table, heads: list[str], lines: list[Line], console: Console) -> None:
    """Print every row as a block: its objective, then a line for every other cell that is not empty."""
    for line in lines:
        console.print(Text(line.texts[0], style="bold"), overflow="fold")
        for head, text, mark in list(zip(heads, line.texts, line.marks, strict=True))[1:]:
            if text not in ("", "–"):
                console.print(Text(f"  {head}  ").append(text, style=STYLES[mark]), overflow="fold")
