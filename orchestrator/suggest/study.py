"""The Optuna study of a search: a journal in the sweep folder, or a database; opened for the driver or to look at."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from orchestrator.suggest.bounded_history import make_sampler
from results.record.reader import SweepRecord
from results.record.seal import named_address
from results.record.store_address import public, without_password
from trainer import environment_variables
from trainer.errors import UserError, first_line
from trainer.files import open_regular
from trainer.metrics import metric_of

if TYPE_CHECKING:  # it comes with PyTorch, which the recorder that looks at a study does without
    from search_spaces import SweepSpec


MOST_JOURNAL = 1 << 30  # bytes


class Journal(JournalFileBackend):
    """Optuna's journal file, for one writer that may be killed in the middle of a line or find the disk full.

    On opening, a lock and a half-written last line of a killed writer are removed. The caller must hold the sweep's lock.
    """

    def __init__(self, path: Path) -> None:
        # The driver holds the sweep's lock, so a lock on the journal is one that a killed driver left behind.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}.lock")
        if path.exists():
            text = path.read_bytes()
            if not text.endswith(b"\n"):
                os.truncate(path, text.rfind(b"\n") + 1)
        super().__init__(str(path))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append entries; where that fails the file is cut back to what it was, and the error is raised."""
        size = os.path.getsize(self._file_path)
        try:
            super().append_logs(logs)
        except OSError:
            with contextlib.suppress(OSError):
                os.truncate(self._file_path, size)
            raise


def study_url(record: SweepRecord, given: str | None = None) -> str | None:
    """Return the database that holds a sweep's study: as ``given``, else as launched; None for the journal in the folder.

    A password is no part of what a sweep was launched with: it is in ``given`` or in $ALPHACL_STUDY_STORAGE.

    Raises:
        UserError: if a sweep from elsewhere names one and the user does not.
    """
    if given or not record.meta.get("study_storage"):
        return given
    return environment_variables.study_storage() or named_address(
        record, "study_storage", "--study-storage", "the database of its study"
    )


def _check_url(url: str) -> None:
    """Raise UserError where a text is no database URL; the message leaves out what may be a password."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        make_url(url)
    except ArgumentError:
        expected = "expected a database URL such as postgresql://user@host/optuna"
        raise UserError(f"--study-storage: {expected}, got {url.rpartition('@')[2]!r}") from None


def open_storage(url: str | None, path: Path) -> BaseStorage:
    """Return the storage of a study, open for writing.

    Args:
        url: the database; None for the journal.
        path: the journal's file, not used with a database.

    Raises:
        UserError: if the database can't be opened, or the URL is none.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if url is None:
        with contextlib.suppress(FileNotFoundError):
            _check_journal(path)
        return JournalStorage(Journal(path))
    _check_url(url)
    try:
        # A connection that the server has dropped is replaced instead of failing the next tell.
        return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
    except Exception as error:  # noqa: BLE001 - SQLAlchemy's, the driver's or an ImportError of it
        reason = public(first_line(error, 200))
        hint = "; a password belongs in PGPASSWORD, ~/.pgpass or ALPHACL_STUDY_STORAGE"
        if isinstance(error, ImportError):
            reason, hint = "its driver is not installed", "; pip install 'alphacl[postgresql]'"
        raise UserError(f"cannot open the study's storage {without_password(url)}: {reason}{hint}") from None


def study_name(record: SweepRecord, family: str | None = None) -> str:
    """Return the name of a sweep's study, or of the study of one family in it.

    Args:
        record: the sweep.
        family: the objective whose own study it is, in a search ``per_family``.
    """
    return record.study_name if family is None else f"{record.study_name} {family}"


def read_study(record: SweepRecord, given_url: str | None = None) -> optuna.Study:
    """Return a sweep's study to look at, while its driver may be writing it: nothing is made, mended or locked.

    Args:
        record: the sweep.
        given_url: the study's database; the one that the sweep was launched with when not given.

    Raises:
        KeyError: if there is no study yet.
        FileNotFoundError: if there is no journal yet.
        UserError: if the database can't be opened.
    """
    url = study_url(record, given_url)
    if url is None:
        _check_journal(record.study)
    storage = open_storage(url, record.study) if url else JournalStorage(JournalFileBackend(str(record.study)))
    return optuna.load_study(study_name=study_name(record), storage=storage)


def _check_journal(path: Path) -> None:
    """Refuse what is no journal but a link, a pipe or a file that nobody could read.

    Raises:
        FileNotFoundError: if there is none.
        UserError: if it is something else than a regular file, or too large.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
    except UserError as error:
        raise UserError(f"{path} is damaged: {error}; restore it") from None
    if size > MOST_JOURNAL:
        raise UserError(f"{path} is damaged: expected at most {MOST_JOURNAL} bytes, got {size}; restore it")


def find_study(record: SweepRecord, given_url: str | None = None) -> optuna.Study | None:
    """Return a sweep's study to look at; None where the sweep is a grid, or none has been made yet.

    Args:
        record: the sweep.
        given_url: the study's database; the one that the sweep was launched with when not given.

    Raises:
        UserError: if the database can't be opened.
    """
    if record.meta.get("kind") != "search":
        return None
    try:
        return read_study(record, given_url)
    except (KeyError, FileNotFoundError):
        return None


def remove_studies(record: SweepRecord) -> None:
    """Remove a sweep's study from the database that holds it, with those of its families.

    Raises:
        UserError: if the database can't be opened.
    """
    storage, name = open_storage(study_url(record), record.study), study_name(record)
    for study in storage.get_all_studies():
        if study.study_name == name or study.study_name.startswith(f"{name} "):
            storage.delete_study(study._study_id)


def open_study(record: SweepRecord, spec: SweepSpec, given_url: str | None = None, family: str | None = None) -> optuna.Study:
    """Return a sweep's study, made where there is none yet; its direction is that of the search's metric.

    The caller must hold the sweep's lock (``SweepWriter.driving``).

    Args:
        record: the sweep.
        spec: its search space.
        given_url: the study's database; the one that the sweep was launched with when not given.
        family: the objective whose own study it is; the study of all objectives when not given.

    Raises:
        UserError: if the database can't be opened.
    """
    assert spec.search is not None
    storage, name = open_storage(study_url(record, given_url), record.study), study_name(record, family)
    known = [s.study_name for s in storage.get_all_studies()]
    done = len(storage.get_all_trials(storage.get_study_id_from_name(name))) if name in known else 0
    # A resumed sampler must not repeat the random numbers that the first one drew.
    sampler = make_sampler(spec.search.sampler, spec.search.seed + done)
    return optuna.create_study(
        storage=storage, study_name=name, sampler=sampler, direction=metric_of(spec.search.metric).direction, load_if_exists=True
    )
