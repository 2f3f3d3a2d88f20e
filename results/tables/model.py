"""What a table is: cells of accuracies over seeds, rows of one configuration each, columns."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from results.record.naming import shown
from results.record.reader import TrialRecord
from results.tables.significance import Comparison
from trainer.metrics import PRIMARY, SELECTION

AT_SELECTION = " at selection"


@dataclass(frozen=True)
class Cell:
    """Accuracies in percent, one per seed, of one configuration; ``seeds`` in the same order."""

    values: tuple[float, ...]
    seeds: tuple[int, ...] = ()

    @classmethod
    def of(cls, by_seed: dict[int, float]) -> Cell:
        """The cell of these accuracies by seed."""
        return cls(tuple(by_seed.values()), tuple(by_seed))

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def std(self) -> float | None:
        """Sample standard deviation over seeds; None for fewer than two."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def by_seed(self) -> dict[int, float]:
        return dict(zip(self.seeds, self.values, strict=True))

    def text(self, plus_minus: str = " ± ") -> str:
        if not self.values:
            return "–"
        return f"{self.mean:.2f}" + (f"{plus_minus}{self.std:.2f}" if self.std is not None else "")


@dataclass(frozen=True)
class PublishedScore:
    """A mean and its standard deviation over seeds as a paper gives them, in percent."""

    mean: float
    std: float


@dataclass
class Row:
    """One configuration over its seeds: what it is, its trials, its cells by column, and how they compare with InfoNCE's.

    ``kind`` is ``trial``, ``confirm`` (fresh seeds of a search's winner) or ``untrained``.
    """

    settings: dict[str, Any]
    expected: int
    done: int = 0
    cells: dict[str, Cell] = field(default_factory=dict)
    trials: list[TrialRecord] = field(default_factory=list)
    kind: str = "trial"
    against: dict[str, Comparison] = field(default_factory=dict)
    is_reference: bool = False
    paper: dict[str, PublishedScore] = field(default_factory=dict)
    planned: dict[str, int] = field(default_factory=dict)  # seeds of a column, where that is not ``expected``

    @property
    def n(self) -> str:
        """Seeds that are in the row; ``1 of 2`` where some are missing."""
        return str(self.done) if self.done == self.expected else f"{self.done} of {self.expected}"

    def is_full(self, column: str) -> bool:
        """Whether the figures of all seeds are there."""
        return len(self.cells[column].values) == self.planned.get(column, self.expected) > 0

    @property
    def label(self) -> str:
        """``direct(p=4), tau 0.5`` and what else tells the row from others."""
        hidden = ("objective", "of", *(["epochs"] if self.kind == "untrained" else []))
        parts = [f"{k} {shown(v)}" for k, v in self.settings.items() if k not in hidden and v is not None]
        return ", ".join([str(self.settings["objective"]), *parts])


@dataclass
class Table:
    """The table of one dataset. ``settings`` names the columns that tell rows apart, ``columns`` those that hold accuracies."""

    dataset: str
    settings: list[str]
    columns: list[str]
    rows: list[Row]
    title: str = ""
    notes: list[str] = field(default_factory=list)
    versus: tuple[str, str] = ("vs infonce", PRIMARY)  # the heading of the differences, and the column that they are of
    selected_by: str = SELECTION  # the metric that configurations are chosen by

    @property
    def is_confirmed(self) -> bool:
        """Whether it shows a search's winners on fresh seeds, beside the figures that they were selected by."""
        return any(column.endswith(AT_SELECTION) for column in self.columns)

    def ranked(self, column: str) -> list[Row]:
        """Pretrained rows whose seeds are all there, the best mean first."""
        full = [r for r in self.rows if r.kind != "untrained" and r.is_full(column)]
        return sorted(full, key=lambda r: -r.cells[column].mean)

    def best(self, column: str) -> Row | None:
        """The pretrained row with the best mean, among those whose seeds are all there."""
        return next(iter(self.ranked(column)), None)

    def marks(self, column: str) -> list[str]:
        """``best``, ``second`` or nothing for every row; rows of equal mean share their mark."""
        ranked = [] if column.endswith(AT_SELECTION) else self.ranked(column)
        means = {id(row): round(row.cells[column].mean, 6) for row in ranked}
        words = dict(zip(sorted(set(means.values()), reverse=True), ("best", "second"), strict=False))
        return [words.get(means[id(row)], "") if id(row) in means else "" for row in self.rows]

    @property
    def compared(self) -> bool:
        """Whether there are differences to show."""
        return any(self.versus[1] in row.against for row in self.rows)

    def header(self) -> list[str]:
        return [*self.settings, "n", *self.columns]

    def lines(self, plus_minus: str = " ± ") -> list[list[str]]:
        """The body as text, a list per row."""
        return [
            [
                *(shown(row.settings.get(s)) for s in self.settings),
                row.n,
                *(self.cell_text(row, c, plus_minus) for c in self.columns),
            ]
            for row in self.rows
        ]

    def cell_text(self, row: Row, column: str, plus_minus: str = " ± ") -> str:
        """A cell; with its own number of seeds where that is not the row's."""
        cell = row.cells[column]
        own = (
            f" [{len(cell.values)}]" if cell.values and len(cell.values) != row.done and not column.endswith(AT_SELECTION) else ""
        )
        return cell.text(plus_minus) + own


def signed(points: float) -> str:
    """A difference with its sign; none where it rounds to nothing."""
    return f"{points:+.2f}".replace("-", "−") if round(points, 2) else "0.00"


def varying(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The settings that are not the same in all configurations, in the order in which they are met."""
    keys = dict.fromkeys(k for c in configs for k in c)
    return [k for k in keys if len({key_of(c.get(k)) for c in configs}) > 1]


def key_of(value: Any) -> str:
    """A text that is the same for equal plain values."""
    return json.dumps(value, sort_keys=True)
