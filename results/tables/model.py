"""The data model of accuracy tables: a cell of scores over seeds, a row per configuration, and the table of one dataset."""

from __future__ import annotations

import heapq
import itertools
import json
import math
import operator
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from results.record.naming import shown
from results.record.reader import TrialRecord
from results.record.status import Status
from results.tables.significance import Comparison
from trainer.metrics import METRICS, PRIMARY, SELECTION, metric_of

AT_SELECTION = " at selection"


def judged_by(selected_by: str) -> str:
    """Return the test metric to compare by: the twin of the held-out metric that chooses (val/knn → test/knn).

    It is ``test/linear`` where that metric has no twin.
    """
    twin = selected_by.replace("val/", "test/")
    return twin if twin in METRICS and METRICS[twin].is_column else PRIMARY


def deviation(values: Sequence[float]) -> float:
    """Return the sample standard deviation of two values or more; as ``statistics.stdev``, in a tenth of its time."""
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


@dataclass(frozen=True)
class Cell:
    """The scores of one configuration under one metric, one per seed.

    Args:
        values: the scores, accuracies in percent; empty for a gap.
        seeds: their seeds, in the same order.
    """

    values: tuple[float, ...]
    seeds: tuple[int, ...] = ()

    @classmethod
    def of(cls, by_seed: dict[int, float]) -> Cell:
        """Return the cell of scores by seed."""
        return cls(tuple(by_seed.values()), tuple(by_seed))

    @property
    def mean(self) -> float:
        """Return the mean over seeds; of at least one value."""
        return statistics.fmean(self.values)

    @property
    def std(self) -> float | None:
        """Return the sample standard deviation over seeds; None for fewer than two."""
        return deviation(self.values) if len(self.values) > 1 else None

    @property
    def by_seed(self) -> dict[int, float]:
        """Return the scores by seed."""
        return dict(zip(self.seeds, self.values, strict=True))

    def text(self, plus_minus: str = " ± ") -> str:
        """Return ``mean ± std`` with two decimals; the mean alone for one seed, a dash for none."""
        if not self.values:
            return "–"
        return f"{self.mean:.2f}" + (f"{plus_minus}{self.std:.2f}" if self.std is not None else "")


@dataclass(frozen=True)
class PublishedScore:
    """A score as a paper gives it: the mean and its standard deviation over seeds, in percent."""

    mean: float
    std: float


@dataclass
class Row:
    """One configuration over its seeds: its settings, its trials, and a cell per column.

    Args:
        settings: the settings that tell the row from others, by name.
        expected: how many seeds are planned.
        done: how many of them have finished.
        cells: the cells by column.
        trials: the trials that the row is made of.
        kind: ``trial``, ``confirm`` (fresh seeds of a search's winner) or ``untrained``.
        against: the comparisons with InfoNCE's row, by column.
        is_reference: whether this is the row that others are compared with.
        paper: the paper's scores beside ours, by column.
        planned: how many seeds a column is to have, where that is not ``expected``.
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
    planned: dict[str, int] = field(default_factory=dict)

    @property
    def n(self) -> str:
        """Return how many seeds are in the row; ``1 of 2`` where some are missing, ``stopped`` where all were stopped."""
        if self.is_stopped:
            return "stopped"
        return str(self.done) if self.done == self.expected else f"{self.done} of {self.expected}"

    @property
    def is_stopped(self) -> bool:
        """Tell whether all of its trials were stopped before their end, so that the row has no score and will get none."""
        return bool(self.trials) and all(trial.status == Status.STOPPED for trial in self.trials)

    def is_full(self, column: str) -> bool:
        """Tell whether a column has the scores of all seeds that are planned."""
        return len(self.cells[column].values) == self.planned.get(column, self.expected) > 0

    @property
    def label(self) -> str:
        """Return ``direct(p=4), tau 0.5`` and what else tells the row from others."""
        hidden = ("objective", "of", "tried", *(["epochs"] if self.kind == "untrained" else []))
        parts = [f"{k} {shown(v)}" for k, v in self.settings.items() if k not in hidden and v is not None]
        return ", ".join([str(self.settings["objective"]), *parts])


@dataclass
class Table:
    """The accuracy table of one dataset.

    Args:
        dataset: the dataset's name; empty where the columns name theirs.
        settings: the settings that tell the rows apart, each a column of text.
        columns: the columns that hold scores.
        rows: the rows, in the order in which they are shown.
        title: what the table shows, where its dataset does not say it all.
        notes: sentences under the table.
        versus: the heading of the differences, and the column that they are of.
        selected_by: the metric that configurations are chosen by.
    """

    dataset: str
    settings: list[str]
    columns: list[str]
    rows: list[Row]
    title: str = ""
    notes: list[str] = field(default_factory=list)
    versus: tuple[str, str] = ("vs infonce", PRIMARY)
    selected_by: str = SELECTION

    @property
    def is_confirmed(self) -> bool:
        """Tell whether the table shows a search's winners on fresh seeds, beside the scores that they were selected by."""
        return any(column.endswith(AT_SELECTION) for column in self.columns)

    def ranked(self, column: str) -> list[Row]:
        """Return the pretrained rows whose seeds are all there, the best mean first."""
        full = [r for r in self.rows if r.kind != "untrained" and r.is_full(column)]
        return sorted(full, key=lambda r: -r.cells[column].mean)

    def best_first(self) -> Table:
        """Return the table with its rows sorted by the metric that chooses, the untrained first, those without a score last."""
        goodness = metric_of(self.selected_by).goodness

        def order(row: Row) -> tuple[bool, bool, float]:
            cell = row.cells.get(self.selected_by, Cell(()))
            return row.kind != "untrained", not cell.values, -goodness(cell.mean) if cell.values else 0.0

        return replace(self, rows=sorted(self.rows, key=order))

    def without_stopped(self, where: str) -> Table:
        """Return the table without the rows all of whose trials were stopped, and a note that counts them; itself without any.

        Args:
            where: a sentence's end that says where these rows are shown.
        """
        rows = [row for row in self.rows if not row.is_stopped]
        folded = len(self.rows) - len(rows)
        if not folded:
            return self
        note = f"… {folded:,} more configuration{'s' * (folded != 1)} stopped before the end, without a final figure; {where}."
        return replace(self, rows=rows, notes=[note, *self.notes])

    def top(self, most: int, where: str = "") -> Table:
        """Return the table with the best ``most`` rows alone, by the metric that chooses; itself where it has no more.

        The rows of the untrained encoder and of the reference stay beside them.

        Args:
            most: how many rows are kept.
            where: a sentence's end that says where all are shown.
        """
        trained = [row for row in self.rows if row.kind != "untrained"]
        if len(trained) <= most:
            return self
        goodness = metric_of(self.selected_by).goodness
        valued = [row for row in trained if self.selected_by in row.cells and row.cells[self.selected_by].values]
        best = heapq.nlargest(most, valued, key=lambda row: (row.done, goodness(row.cells[self.selected_by].mean)))
        references = [row for row in trained if row.is_reference and not any(row is other for other in best)]
        note = f"The best {len(best)} of {len(trained):,} configurations by mean {self.selected_by}{where and f'; {where}'}."
        rows = [*(row for row in self.rows if row.kind == "untrained"), *references, *best]
        return replace(self, rows=rows, notes=[note, *self.notes])

    def best(self, column: str) -> Row | None:
        """Return the pretrained row with the best mean among those whose seeds are all there; None where there is none."""
        return next(iter(self.ranked(column)), None)

    def marks(self, column: str) -> list[str]:
        """Return ``best``, ``second`` or nothing for every row; rows of equal mean share their mark.

        A row whose mean is not above the untrained encoder's is marked as nothing.
        """
        starts = [row.cells[column].mean for row in self.rows if row.kind == "untrained" and row.cells[column].values]
        ranked = [] if column.endswith(AT_SELECTION) else self.ranked(column)
        ranked = [row for row in ranked if not starts or row.cells[column].mean > max(starts)]
        means = {id(row): round(row.cells[column].mean, 6) for row in ranked}
        mark_of = dict(zip(sorted(set(means.values()), reverse=True), ("best", "second"), strict=False))
        return [mark_of.get(means[id(row)], "") if id(row) in means else "" for row in self.rows]

    @property
    def compared(self) -> bool:
        """Tell whether there are differences to show."""
        return any(self.versus[1] in row.against for row in self.rows)

    def header(self) -> list[str]:
        """Return the headings: the settings, the number of seeds, and the columns of scores."""
        return [*self.settings, "n", *self.columns]

    def lines(self, plus_minus: str = " ± ") -> list[list[str]]:
        """Return the body as text, a list per row."""
        return [
            [
                *(shown(row.settings.get(s)) for s in self.settings),
                row.n,
                *(self.cell_text(row, c, plus_minus) for c in self.columns),
            ]
            for row in self.rows
        ]

    def cell_text(self, row: Row, column: str, plus_minus: str = " ± ") -> str:
        """Return a cell as text, with its own number of seeds where that is not the row's."""
        cell = row.cells[column]
        own = (
            f" [{len(cell.values)}]" if cell.values and len(cell.values) != row.done and not column.endswith(AT_SELECTION) else ""
        )
        return cell.text(plus_minus) + own


def signed(points: float) -> str:
    """Return a difference with its sign; without one where it rounds to zero."""
    return f"{points:+.2f}".replace("-", "−") if round(points, 2) else "0.00"


def varying(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the settings that are not the same in all configurations, in the order in which they are met."""
    return [k for k, values in _columns(configs, missing=None) if _vary(values)]


def _columns(configs: Sequence[Mapping[str, Any]], missing: Any) -> Iterable[tuple[str, Sequence[Any]]]:
    """Return each setting with its values in all configurations; ``missing`` stands where one has none."""
    keys = list(dict.fromkeys(itertools.chain.from_iterable(configs)))
    if len(keys) > 1 and all(len(c) == len(keys) for c in configs):  # as good as always, and several times faster
        return zip(keys, zip(*map(operator.itemgetter(*keys), configs), strict=True), strict=True)
    return ((k, [c.get(k, missing) for c in configs]) for k in keys)


def _vary(values: Sequence[Any]) -> bool:
    """Tell whether plain values are not all the same; 1, 1.0 and true are three."""
    return len(set(map(type, values))) > 1 or values.count(values[0]) < len(values)


def numbered(configs: Sequence[Mapping[str, Any]], but: Collection[str] = ()) -> list[int]:
    """Return a number for each configuration, from 0 in the order in which they are met: the same where they are the same.

    Args:
        configs: the configurations.
        but: settings that do not count.
    """
    telling = [k for k, values in _columns(configs, _MISSING) if k not in but and _vary(values)]  # few: no look at the rest
    numbers: dict[str, int] = {}
    return [numbers.setdefault(key_of({k: c[k] for k in telling if k in c}), len(numbers)) for c in configs]


_MISSING = object()


def key_of(value: Any) -> str:
    """Return a text that is the same for equal plain values."""
    return json.dumps(value, sort_keys=True)
