"""Tables on terminals of many widths: whole figures, columns that give way in a stated order, blocks where nothing else fits."""

import io

import pytest
from rich.console import Console

from results.tables.model import Cell, Row, Table
from results.tables.significance import compare, correct
from results.tables.terminal import NARROW, gives_way, print_tables

COLUMNS = ["test/linear", "test/knn", "val/linear", "val/knn"]
FORMULA = "formula(alpha='exp(-d2**(q/2)/tau)*(1 + c*s)', c=0.5, q=2)"


def row(objective, *first_scores, kind="trial", seeds=3):
    made = Row({"objective": objective, "tau": None if kind == "untrained" else 0.5}, seeds, seeds, kind=kind)
    made.cells = {
        column: Cell.of({seed: first + 1.25 * seed for seed in range(seeds)})
        for column, first in zip(COLUMNS, first_scores, strict=True)
    }
    return made


@pytest.fixture
def table():
    """A table of three objectives, one with a long formula, compared with InfoNCE in test/linear."""
    reference, others = row("infonce", 50, 40, 51, 41), [row("direct(p=4)", 52, 42, 53, 43), row(FORMULA, 45, 35, 46, 36)]
    made = Table(
        "digits", ["objective", "tau"], COLUMNS, [row("untrained encoder", 30, 20, 31, 21, kind="untrained"), reference, *others]
    )
    made.notes = [
        "A note of many words, which is wrapped between them where the terminal is narrow, whatever it says about the table."
    ]
    reference.is_reference = True
    for other, comparison in zip(
        others,
        correct([compare(r.cells["test/linear"].by_seed, reference.cells["test/linear"].by_seed) for r in others]),
        strict=True,
    ):
        other.against["test/linear"] = comparison
    return made


def printed(table, width):
    out = io.StringIO()
    print_tables([table], Console(file=out, width=width, color_system=None))
    return out.getvalue()


@pytest.mark.parametrize("width", [200, 140, 120, 100, 80, 60, 40])
def test_no_line_is_wider_than_the_terminal_and_no_figure_is_cut(width, table):
    text = printed(table, width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    assert [f"{mean:.2f} ± 1.25" in text for mean in (31.25, 51.25, 53.25, 46.25)] == [True] * 4  # test/linear of every row
    assert "+2.00 (" in text
    assert "−5.00 (" in text
    assert {"narrow,", "whatever"} <= set(text.split())
    together = "".join(
        part for line in text.splitlines() for part in [line.split("│")[1].strip() if "│" in line else line.strip()]
    )
    assert FORMULA.replace(" ", "") in together.replace(" ", "")


def test_held_out_metrics_give_way_first_then_other_test_metrics_and_what_went_is_named(table):
    assert "Left out" not in printed(table, 200)
    for width, left_out in ((105, "val/knn"), (85, "test/knn, val/knn"), (70, "test/knn, val/knn, val/linear")):
        text = printed(table, width)
        assert f"Left out, to fit {width} columns: " in text, text
        named = text.partition("columns: ")[2].partition(";")[0]
        assert sorted(named.split(", ")) == sorted(left_out.split(", ")), text


def test_the_column_that_a_search_chooses_by_stays_longer_than_the_others(table):
    heads = [*table.settings, "n", *COLUMNS, "vs infonce"]
    assert [heads[index] for index in gives_way(table, heads)] == ["val/knn", "test/knn", "val/linear"]
    table.selected_by = "val/knn"
    assert [heads[index] for index in gives_way(table, heads)] == ["val/linear", "test/knn", "val/knn"]
    table.versus = ("infonce", "test/knn")
    assert [heads[index] for index in gives_way(table, heads)] == ["val/linear", "val/knn", "test/linear"]


def test_at_80_columns_a_confirmed_table_breaks_its_long_heading_and_does_without_what_was_tried(table):
    table.settings = [*table.settings, "tried"]
    table.columns = [*table.columns, "val/linear at selection"]
    for made in table.rows:
        made.settings["tried"] = 6
        made.cells["val/linear at selection"] = Cell.of({0: 98.33})
    text = printed(table, 80)
    assert "┃   val/linear ┃" in text
    assert "┃ at selection ┃" in text
    assert "Left out, to fit 80 columns: tried, " in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_a_very_narrow_terminal_gets_a_block_per_row(table):
    text = printed(table, 40)
    assert "│" not in text
    assert "  test/linear  51.25 ± 1.25" in text.splitlines()
    assert "  vs infonce  reference" in text.splitlines()


def test_objectives_are_broken_no_earlier_than_the_terminal_asks_for(table):
    first_column = [line.split("│")[1].strip() for line in printed(table, 118).splitlines() if line.startswith("│")]
    assert NARROW < max(map(len, first_column)) < len(FORMULA)
    assert max(map(len, printed(table, 118).splitlines())) == 118


def test_at_80_columns_a_search_by_knn_is_still_a_table(table):
    table.versus, table.selected_by = ("vs infonce", "test/knn"), "val/knn"
    table.settings = [*table.settings, "lr", "weight_decay"]
    for made in table.rows:
        made.settings |= {"lr": 0.001234, "weight_decay": 0.0001234}
    text = printed(table, 80)
    assert "│" in text
    assert "test/linear" in text.partition("Left out, to fit 80 columns: ")[2].partition(";")[0]
