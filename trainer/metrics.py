"""Every metric that a trial reports: name, unit, direction, whether it is a column of the tables, whether a search may use it.

Tables, reports, MLflow, the live view and the search all read this one table. Metrics are computed in
:mod:`trainer.diagnostics`, :mod:`trainer.probe` and :mod:`trainer.trial`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One metric of a trial.

    Args:
        name: the name in reports, tables and MLflow, ``group/name``.
        unit: ``%``, ``s``, ``nats``, or empty for a number without unit.
        text: what it is, in a few words.
        higher_is_better: its direction; None where neither is better.
        is_column: whether accuracy tables have a column for it.
        is_searchable: whether ``search.metric`` and ``early_stopping.metric`` may name it: it is read on held-out images, or
            needs no labels.
        is_always_there: whether its column is shown where no trial has it.
        is_read_at: whether the table has it also at the epochs in ``read_at``.
    """

    name: str
    unit: str
    text: str
    higher_is_better: bool | None = None
    is_column: bool = False
    is_searchable: bool = False
    is_always_there: bool = False
    is_read_at: bool = False

    @property
    def direction(self) -> str:
        """Return ``maximize`` or ``minimize``, in Optuna's words."""
        return "minimize" if self.higher_is_better is False else "maximize"

    def goodness(self, value: float) -> float:
        """Return the value with the sign that makes more of it better."""
        return -value if self.higher_is_better is False else value

    def best(self, values: Iterable[float]) -> float | None:
        """Return the best of some values; None where there are none."""
        return max(values, key=self.goodness, default=None)


PRIMARY = "test/linear"  # what tables compare configurations by
SELECTION = "val/linear"  # what hyper-parameters are chosen by where nothing else is asked for
PAPER = "test/linear_paper"  # the paper's reading of the same probe

_LIST = (
    Metric(
        "test/linear",
        "%",
        "logistic regression on frozen features; its penalty is chosen on held-out training images and the test set read once",
        higher_is_better=True,
        is_column=True,
        is_always_there=True,
        is_read_at=True,
    ),
    Metric(
        "test/linear_paper",
        "%",
        "the paper's probe, which reports its best test accuracy over 50 epochs, and so looks at the test set (optimistic)",
        higher_is_better=True,
        is_column=True,
        is_read_at=True,
    ),
    Metric(
        "test/knn",
        "%",
        "nearest neighbours on frozen features, test split",
        higher_is_better=True,
        is_column=True,
        is_always_there=True,
    ),
    Metric(
        "val/linear",
        "%",
        "logistic regression on held-out training images, where hyper-parameters are chosen",
        higher_is_better=True,
        is_column=True,
        is_searchable=True,
        is_always_there=True,
    ),
    Metric(
        "val/knn",
        "%",
        "nearest neighbours on held-out training images, where hyper-parameters are chosen",
        higher_is_better=True,
        is_searchable=True,
    ),
    *(
        Metric(
            f"{split}/{probe}_projector",
            "%",
            f"{text} on the projector's output, {where}",
            higher_is_better=True,
            is_column=split == "test",
            is_searchable=split == "val",
        )
        for split, where in (("test", "test split"), ("val", "held-out training images"))
        for probe, text in (("linear", "logistic regression"), ("knn", "nearest neighbours"))
    ),
    Metric("untrained/linear", "%", "linear probe of the encoder before its first step, test split", True),
    Metric("untrained/linear_paper", "%", "the paper's probe of the encoder before its first step", True),
    Metric("untrained/knn", "%", "kNN probe of the encoder before its first step, test split", True),
    Metric("train/loss", "", "the objective, mean over the epoch's steps", False),
    Metric("alpha/entropy", "nats", "entropy of α, mean over anchors"),
    Metric("alpha/effective_negatives", "negatives", "exp of α's entropy, mean over anchors"),
    Metric("alpha/hardest_1pct", "", "share of α on the nearest 1 % of an anchor's negatives"),
    Metric("alpha/sparsity", "", "share of negatives whose α is zero"),
    Metric("alpha/energy", "", "contrastive energy E_α"),
    Metric("embedding/alignment", "", "mean squared distance between an image's two views", False),
    Metric("embedding/uniformity", "", "log mean Gaussian potential over negatives; lower is more uniform", False),
    Metric("embedding/rank", "", "RankMe of the embeddings", True),
    Metric("feature/rank", "", "RankMe of the encoder's features", True, is_searchable=True),
    Metric("feature/alpha_req", "", "α-ReQ: decay of the spectrum of the encoder's features; near 1 is best"),
    Metric("feature/alpha_req_gap", "", "how far α-ReQ is from 1", False, is_searchable=True),
    Metric("feature/lidar", "", "LiDAR of the encoder's features", True, is_searchable=True),
    Metric(
        "feature/clid",
        "",
        "CLID of the encoder's features",
        True,
        is_searchable=True,
    ),
    Metric("time/epoch_s", "s", "training of one epoch", False),
    Metric("time/probe_s", "s", "all probes after one epoch", False),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _LIST}
COLUMNS = tuple(metric.name for metric in _LIST if metric.is_column)
SEARCHABLE = tuple(metric.name for metric in _LIST if metric.is_searchable)


def metric_of(name: str) -> Metric:
    """Return a metric's entry; ``test/linear@100``, read after epoch 100, has the entry of ``test/linear``.

    A metric that is not listed, such as a plug-in's, counts as better when it is higher.
    """
    base = name.partition("@")[0]
    return METRICS.get(base) or Metric(base, "%" if is_accuracy(base) else "", base, True)


def is_accuracy(name: str) -> bool:
    """Tell whether a metric is an accuracy in percent."""
    return name.partition("/")[0] in ("test", "val", "untrained")


def untrained_name(name: str) -> str:
    """Return the name under which a record keeps a test metric of the encoder before its first step."""
    return name.replace("test/", "untrained/")


def projector_name(name: str) -> str:
    """Return the name of a probe's metric where the probe looks at the projector's output: ``test/linear_projector``."""
    return f"{name}_projector"
