"""Grows a sweep in place: an edited search space adds objectives, seeds or rows to a sweep that was launched before."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.record.layout import SPACE
from results.record.reader import MOST_SPACE, SweepRecord
from trainer.errors import UserError
from trainer.files import read_bounded

if TYPE_CHECKING:
    from search_spaces import SweepSpec
    from search_spaces.search import Search


@dataclass(frozen=True)
class Growth:
    """The changes that an edited search space makes to a sweep.

    Args:
        added: how many trials are new.
        kept: how many trials the sweep has.
        left: how many of these the new space does not name any more; they stay all the same.
        lines: the lines of the YAML that go and come, as a diff shows them.
    """

    added: int
    kept: int
    left: int
    lines: tuple[str, ...]

    def print(self, name: str) -> None:
        """Print the changed lines and what they mean for the trials."""
        print(f"{name} grows:")
        for line in self.lines:
            print(f"  {line}")
        left = f"; {self.left} of them are not in the space any more, and stay" if self.left else ""
        print(f"{self.added} trials are added, the {self.kept} that there are stay{left}", flush=True)


def launched_text(record: SweepRecord) -> str:
    """Return the YAML that a sweep was launched or last grown with, whatever was made of the file in its folder since."""
    return str(record.meta.get("space") or record.space)


def growth_of(record: SweepRecord, spec: SweepSpec) -> Growth:
    """Return what a new search space would change in a sweep.

    Raises:
        UserError: if it is that of another sweep: none of a grid's trials is in it, or a search would look for something else.
    """
    old, kind = launched_text(record), record.meta.get("kind")
    if spec.kind != kind:
        raise UserError(f"{spec.document.source} is a {spec.kind}, and {record.name!r} a {kind}; choose another --name")
    trials = record.trials()
    there, changed = {t.digest for t in trials}, _changed_lines(old, spec.text)
    if spec.kind == "grid":
        wanted = {leaf.digest for leaf in spec.leaves()}
        if there and not there & wanted:
            raise UserError(
                f"{spec.document.source}: none of the {len(there)} trials of {record.name!r} is in it; choose another --name"
            )
        return Growth(len(wanted - there), len(there), len(there - wanted), changed)
    _check_same_search(record, spec, old)
    return Growth(max(0, spec.trials - len(trials)), len(trials), 0, changed)


def _check_same_search(record: SweepRecord, spec: SweepSpec, old: str) -> None:
    """Refuse a search that looks in another space, or for something else, than its study knows. Raises UserError."""
    from search_spaces import Document, read_spec

    before = read_spec(Document(old, str(record.folder / SPACE)))
    parts = {"trial": "fixed", "space": "domains", "objective": "branches", "early_stopping": "early_stopping"}
    differing = [key for key, part in parts.items() if _shape(getattr(before, part)) != _shape(getattr(spec, part))]
    assert before.search is not None
    assert spec.search is not None
    if _without_budget(before.search) != _without_budget(spec.search):
        differing.append("search")
    if differing:
        raise UserError(
            f"{spec.document.source}: {', '.join(differing)} differ from what the study of {record.name!r} knows; a search grows"
            f" by its trials and confirmations alone: launch another one, with --warm-start {record.name}"
        )


def _without_budget(search: Search) -> Search:
    return dataclasses.replace(search, trials=0, top=0, fresh=0)


def _shape(part: Any) -> Any:
    """Return a part of a spec without the places in the YAML at which it stands."""
    return [(branch.label, branch.own) for branch in part] if isinstance(part, tuple) else part


def _changed_lines(old: str, new: str) -> tuple[str, ...]:
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), n=0, lineterm="")
    return tuple(line for line in lines if not line.startswith(("---", "+++", "@@")))


def source_of(file: Path) -> dict[str, str]:
    """Return what ``sweep.json`` says of the YAML file that a sweep was launched from: its path and its content's hash."""
    path = file.resolve()
    return {"file": str(path), "sha256": hashlib.sha256(read_bounded(path, MOST_SPACE)).hexdigest()}


def edited_source(record: SweepRecord) -> Path | None:
    """Return the YAML file that a sweep was launched from, where it has been edited since; None where not, or it is gone."""
    source = record.meta.get("source")
    if not isinstance(source, dict):
        return None
    try:
        now = source_of(Path(str(source.get("file"))))
    except (OSError, UserError):
        return None
    return Path(now["file"]) if now["sha256"] != source.get("sha256") else None


def edited_space(record: SweepRecord) -> SweepSpec | None:
    """Return the space in the sweep folder where somebody has edited the file there since the launch; None where not.

    Raises:
        SpaceError: if it is no valid space any more.
    """
    if "space" not in record.meta or record.space == record.meta["space"]:
        return None
    from search_spaces import Document, SpaceError, read_spec

    try:
        return read_spec(Document(record.space, str(record.folder / SPACE)))
    except SpaceError as error:
        raise SpaceError(f"{error}; mend it, or put back what the sweep was launched with") from None
