"""The pages of a sweep's parent run in MLflow: description, accuracy tables and pictures, all made from the sweep folder."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS

from orchestrator.tracking.machine_load import machines
from orchestrator.tracking.verdict import Verdict, verdict_of
from results.record.layout import file_name
from results.record.mlflow_names import SPACE_ARTIFACT
from results.record.reader import SweepRecord, TrialRecord
from results.record.status import Status
from results.record.sweep_writer import SweepWriter
from results.tables.best_of_families import best_of_families
from results.tables.build import build_tables
from results.tables.model import Table
from results.tables.render import markdown, markdown_note, to_markdown
from results.tables.sweep import sorted_rows
from trainer.metrics import metric_of

if TYPE_CHECKING:
    import optuna
    from matplotlib.figure import Figure

    from results.plots.figures import Picture

NOTE_LIMIT, EXPERIMENT_LIMIT = 7900, 4900  # MLflow cuts a run's tag at 8000 characters, an experiment's at 5000

Study = Callable[[], "optuna.Study | None"]
T = TypeVar("T")


class Pages:
    """Writes a sweep's pages to its parent run; a page that has not changed since the last time is not sent again.

    ``problems`` are the pages that could not be made of the records, a message each; ``verdict`` is the sweep's answer so far.

    Args:
        client: of the MLflow store.
        folder: the sweep folder.
        study: returns the Optuna study of a search, for its pictures.
    """

    def __init__(self, client: MlflowClient, folder: SweepWriter, study: Study | None = None) -> None:
        self.client, self.folder, self.study = client, folder, study
        self._sent: dict[tuple[str, str], str] = {}
        self.problems: list[str] = []
        self.verdict = Verdict()

    def write(self, run: str, damaged: list[str]) -> str:
        """Write all pages to a run, note in ``problems`` which could not be made, and return the run's description.

        Args:
            run: the parent run's id.
            damaged: messages about trials that are left out.
        """
        self.problems = []
        record = self.folder.record
        trials = [t for t in record.trials() if t.status != Status.DAMAGED]
        tables: list[Table] = []
        if any(t.reports for t in trials):
            tables = self._made("tables", lambda: [sorted_rows(record, t) for t in build_tables(trials, record.metric)], tables)
        if record.space:  # records of single runs have none
            self._text(run, SPACE_ARTIFACT, record.space)
        finished = any(t.status == Status.FINISHED for t in trials)
        if finished:
            self._text(run, "accuracy.md", to_markdown(tables))
            for name, table in zip(table_names(tables), tables, strict=True):
                self._table(run, name, table_columns(table))
        for name, png in self._pictures(tables):
            self._bytes(run, name, png)
        self.verdict = self._made("verdict", lambda: verdict_of(record, trials, tables if finished else []), Verdict())
        folded = [table.without_stopped("`accuracy.md` has them") for table in tables] if finished else []
        return describe(record, trials, folded, damaged, self.verdict.sentences)

    def are_there(self, run: str) -> bool:
        """Tell whether a run has the files of a finished sweep's pages, which may lie where somebody has removed them."""
        names = {file.path for file in self.client.list_artifacts(run)}
        return {"accuracy.md", *([SPACE_ARTIFACT] if self.folder.record.space else [])} <= names

    def _made(self, what: str, make: Callable[[], T], otherwise: T) -> T:
        """Return a page's content; where the records do not allow it, note the problem so that the other pages are still made."""
        try:
            return make()
        except Exception as error:  # noqa: BLE001 - records edited by hand raise anything
            self.problems.append(f"cannot make the {what}: {type(error).__name__}: {error}")
            return otherwise

    def _pictures(self, tables: list[Table]) -> Iterator[tuple[str, bytes]]:
        """Yield every picture as an artifact's name and its PNG; those of a dataset lie in a folder of its name."""
        from orchestrator.tracking.study_plots import draw_search  # with matplotlib, which a tracker can open without
        from results.plots.style import to_png

        for table in tables:
            if table.is_confirmed:
                continue  # a picture of what the search tried says more
            folder = file_name(table.dataset)
            nothing: list[Picture] = []
            search = self.folder.record.meta.get("kind") == "search"
            for picture in self._made("figures", functools.partial(_pictures_of, table, search), nothing):
                yield f"{folder}/{picture.name}.png", to_png(picture.figure)
        none: dict[str, Figure] = {}
        figures = self._made("figures of the search", lambda: draw_search(self.study() if self.study else None), none)
        for name, figure in figures.items():
            yield name, to_png(figure)

    def _is_news(self, run: str, name: str, content: bytes) -> bool:
        return self._sent.get((run, name)) != hashlib.sha256(content).hexdigest()

    def _note(self, run: str, name: str, content: bytes) -> None:
        self._sent[run, name] = hashlib.sha256(content).hexdigest()

    def _text(self, run: str, name: str, text: str) -> None:
        if self._is_news(run, name, text.encode()):
            self.client.log_text(run, text, name)
            self._note(run, name, text.encode())

    def _bytes(self, run: str, name: str, content: bytes) -> None:
        if self._is_news(run, name, content):
            folder, _, file = name.rpartition("/")
            with tempfile.TemporaryDirectory() as scratch:
                path = Path(scratch) / file
                path.write_bytes(content)
                self.client.log_artifact(run, str(path), folder)
            self._note(run, name, content)

    def _table(self, run: str, name: str, columns: dict[str, list[Any]]) -> None:
        """Call ``log_table`` until the run is marked to have the table; replace its file each time: ``log_table`` appends."""
        text = json.dumps({"columns": list(columns), "data": [list(values) for values in zip(*columns.values(), strict=True)]})
        if not self._is_news(run, name, text.encode()):
            return
        if (run, name) not in self._sent and f'"{name}"' not in self.client.get_run(run).data.tags.get(
            MLFLOW_LOGGED_ARTIFACTS, ""
        ):
            self.client.log_table(run, columns, name)
        self._text(run, name, text)


def _pictures_of(table: Table, search: bool) -> list[Picture]:
    """Return the pictures of a table, with the curves of trials that have not finished, and with what a search tried."""
    from results.plots.figures import pictures_of

    best = best_of_families(table, table.selected_by)
    several = any((row.settings.get("of") or 0) > 1 for row in best.rows)  # none while no configuration is complete
    return pictures_of(table, best if several else table, unfinished=True, search=search)


def table_names(tables: list[Table]) -> list[str]:
    """Return the artifact names of accuracy tables; ``…_tried`` is what a search tried, where it confirmed the best."""
    confirmed = {table.dataset for table in tables if table.is_confirmed}
    extra = ["_tried" if t.dataset in confirmed and not t.is_confirmed else "" for t in tables]
    return [f"accuracy_{file_name(t.dataset)}{more}.json" for t, more in zip(tables, extra, strict=True)]


def table_columns(table: Table) -> dict[str, list[Any]]:
    """Return a table as columns by name: settings, n, and mean, std and best of every metric."""
    columns: dict[str, list[Any]] = {s: [_plain(r.settings.get(s)) for r in table.rows] for s in table.settings}
    columns["n"] = [row.done for row in table.rows]
    for name in table.columns:
        cells = [row.cells[name] for row in table.rows]
        columns[f"{name} mean"] = [round(c.mean, 4) if c.values else None for c in cells]
        columns[f"{name} std"] = [None if c.std is None else round(c.std, 4) for c in cells]
        columns[f"{name} best"] = [None if (best := metric_of(name).best(c.values)) is None else round(best, 4) for c in cells]
    return columns


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (str, int, float)) else str(value)


def describe(
    record: SweepRecord,
    trials: list[TrialRecord],
    tables: list[Table],
    damaged: list[str],
    verdict: Sequence[tuple[str, str]] = (),
) -> str:
    """Return the parent run's description in Markdown: the verdict, tables, versions and machines, and the search space.

    Where MLflow would cut the text, the search space gives way to a pointer to its artifact, then tables show their best rows
    alone, then they give way likewise.

    Args:
        record: the sweep.
        trials: those that are not damaged.
        tables: the accuracy tables, none before a trial has finished.
        damaged: messages about trials that are left out.
        verdict: the sweep's answer, per dataset a short one and how it was reached.
    """
    counts = Counter(t.status for t in trials)
    names = {Status.STOPPED: "stopped early", Status.STARTED: "begun"}
    order = (Status.FINISHED, Status.STOPPED, Status.FAILED, Status.DIVERGED, Status.STARTED)
    parts = [f"{counts[status]} {names.get(status, status)}" for status in order if counts[status]]
    head = "".join(f"**{markdown(short)}**\n\n" for short, _ in verdict)
    head += "".join(f"{markdown(reached)}\n\n" for _, reached in verdict)
    head += f"{markdown_note(record.description)}\n\n**{record.planned} trials**: {', '.join(parts) or 'none begun'}.\n"
    if damaged:
        head += f"\n**Damaged, left out**: {markdown_note('; '.join(damaged)[:1000])}\n"
    results = _accuracy(tables) if tables else ""
    made = "\n## Made with\n\n" + "\n".join(f"- {markdown_note(line)}" for line in _facts(record, trials)) + "\n"
    fence = "`" * (1 + max(2, *map(len, re.findall("`+", record.space)), 0))  # longer than any that the text holds
    space = f"\n## Search space\n\n{fence}yaml\n{record.space.rstrip()}\n{fence}\n"
    if len(head + results + made + space) > NOTE_LIMIT:
        space = f"\n## Search space\n\nSee `{SPACE_ARTIFACT}` among the artifacts.\n"
    for most in (20, 5):
        if len(head + results + made + space) > NOTE_LIMIT:
            results = _accuracy([table.top(most, "`accuracy.md` among the artifacts has all") for table in tables])
    if len(head + results + made + space) > NOTE_LIMIT:
        results = "\n## Accuracy\n\nSee `accuracy.md` and the `accuracy_….json` tables among the artifacts.\n"
    return head + results + made + space


def _accuracy(tables: list[Table]) -> str:
    return "\n## Accuracy\n\nTop-1 in %, mean ± std over n seeds; the best mean of a column in bold.\n\n" + to_markdown(tables)


def _facts(record: SweepRecord, trials: list[TrialRecord]) -> Iterator[str]:
    """Yield versions, commit and machines, a line each."""
    environment = record.meta.get("environment", {})
    yield f"sweep `{record.name}`, id {record.meta['id'][:8]}, launched {record.meta.get('created', 'at an unknown time')}"
    yield f"commit {environment.get('commit') or 'unknown'}"
    versions = ", ".join(f"{key} {value}" for key, value in environment.items() if key != "commit")
    if versions:
        yield versions
    for m in machines(record.folder):
        yield f"driver on {m.get('host')}: {m.get('processor')}, {m.get('memory_gb')} GB, {m.get('system')}"
    made = Counter(
        f"{e.get('device')}, {e.get('precision')}, {e.get('threads')} threads"
        for t in trials
        if t.status == Status.FINISHED and (e := t.environment)
    )
    for device, count in made.most_common(5):
        yield f"{count} trials on {device}"


def experiment_note(note: str) -> str:
    """Return the part of a run's description that fits the experiment: how far it is, and tables where there is room.

    Its first line is plain, as MLflow's list of experiments shows it without reading it as Markdown.
    """
    first, rest = note.partition("\n")[::2]
    note = f"{first.removeprefix('**').removesuffix('**')}\n{rest}"
    short = note.partition("\n## Made with")[0]
    return short if len(short) <= EXPERIMENT_LIMIT else note.partition("\n## ")[0][:EXPERIMENT_LIMIT]
