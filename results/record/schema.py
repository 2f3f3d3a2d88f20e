"""The schemas of a sweep folder's JSON files, checked when a file is read and when it is written.

The fields of every file, with their types and ranges, are in :mod:`results.record.fields`.

A file that somebody else wrote, or edited, is data that may be wrong in any way. What fits its schema can be used without a
further look: types, ranges and lengths are right, names and texts of one line hold nothing that would do something to a terminal.
What does not fit is a :class:`UserError` of one line that names the file and the key. Keys that a schema does not name are kept:
a later alphacl may have written them.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import SchemaValidator, ValidationError, from_json
from pydantic_core import core_schema as cs

from results.record import fields
from results.record.layout import CONFIG, ERROR, LEASE, REPORTS, RESULT, STOPPED, SWEEP
from trainer.errors import UserError
from trainer.files import checksum, read_bounded, read_with_stat, write_json
from trainer.terminal import printable

KIB, MIB = 1 << 10, 1 << 20
SEALED_SINCE = 2  # the version of records that carry a checksum
REMEDY = "restore it, or remove it to have it computed again"


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Args:
        name: the file's name, for messages about content that lies elsewhere.
        schema: makes the schema of its content, at the first use.
        most: the most bytes that such a file may have.
        sealed: whether a checksum over the content is put in when the file is written; one that is there is always compared.
        is_result: whether its content has ``metrics`` and a ``history``.
    """

    name: str
    schema: Callable[[], cs.CoreSchema]
    most: int = 256 * KIB
    sealed: bool = False
    is_result: bool = False

    @functools.cached_property
    def validator(self) -> SchemaValidator:
        """Return the validator of the content."""
        return SchemaValidator(self.schema())


SWEEP_FILE = Kind(SWEEP, fields.sweep)
CONFIG_FILE = Kind(CONFIG, fields.entry, sealed=True)
RESULT_FILE = Kind(RESULT, fields.result, 64 * MIB, is_result=True)
RECORD_FILE = Kind("a trial's record", fields.record, 64 * MIB, is_result=True)
ERROR_FILE = Kind(ERROR, fields.error, 4 * MIB)
STOPPED_FILE = Kind(STOPPED, fields.stopped)
STOP_REQUEST_FILE = Kind("a request to stop", fields.stop_request, 4 * MIB)
DRIVER_FILE = Kind("driver.json", fields.driver)
LEASE_FILE = Kind(LEASE, fields.lease)
REPORT_ROW = Kind(REPORTS, fields.report)
REPORT_ROWS = Kind(REPORTS, fields.reports, 64 * MIB)
SETTINGS = Kind("a configuration", fields.settings)


def parse(content: bytes) -> Any:
    """Return what a JSON text holds.

    Raises:
        UserError: if it is no JSON, is nested deeper than 200 levels, or holds a lone surrogate or thousands of digits.
    """
    try:
        return from_json(content)
    except ValueError as error:
        raise UserError(f"is no JSON: {printable(str(error), 200)}") from None


def fault_of(value: Any, kind: Kind) -> str:
    """Return what does not fit a kind of file in its content, beginning with the key; empty where all fits."""
    try:
        kind.validator.validate_python(value)
    except ValidationError as error:
        return _explain(error)
    fault = fields.row_fault(value.get("metrics", {}), False) or fault_of_rows(value.get("history", [])) if kind.is_result else ""
    if fault:
        return fault
    if kind.is_result and value.get("version", 1) >= SEALED_SINCE and "checksum" not in value:
        return "it was edited after it was written: it has lost its checksum"
    if "checksum" in value and value["checksum"] != checksum(value):
        return "it was edited after it was written: its checksum is not that of its content"
    return ""


def _explain(error: ValidationError) -> str:
    """Return the first error in one line: the key, what was expected, and what was found."""
    first = error.errors(include_url=False, include_context=False)[0]
    key = ".".join(str(part) for part in first["loc"] if part != "[key]")
    text = first["msg"].replace("Input should be", "expected").replace("String should", "expected it to")
    if first["type"] == "missing":
        return f"lacks {printable(key, 100)}"
    if first["type"] == "string_pattern_mismatch":
        text = "expected plain text of one line" if fields.LINE in first["msg"] else "expected a name or number of the usual form"
    return f"{printable(key, 100) or 'its content'}: {text[:1].lower() + text[1:]}, got {_shown(first['input'])}"


def _shown(value: Any) -> str:
    """Return a value in a few characters, whatever it is."""
    if isinstance(value, int) and value.bit_length() > 200:
        return "a number of many digits"
    if isinstance(value, (list, dict)):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    return printable(ascii(value) if isinstance(value, str) and len(value) < 100 else repr(value)[:200], 60)


def read(path: Path, kind: Kind, remedy: str = REMEDY) -> dict[str, Any] | None:
    """Return the content of a JSON file that fits its schema, or None where there is no such file.

    Args:
        path: the file; links and what is no regular file are refused.
        kind: what kind of file it is.
        remedy: what to do about a damaged one, for the message.

    Raises:
        UserError: if the file is there but damaged; the message names it and the key.
    """
    return read_noting(path, kind, remedy)[0]


def read_noting(path: Path | str, kind: Kind, remedy: str = REMEDY) -> tuple[dict[str, Any], os.stat_result] | tuple[None, None]:
    """Return what :func:`read` does, and what the system said of the file before it was read.

    Raises:
        UserError: as :func:`read`.
    """
    try:
        content, found = read_with_stat(path, kind.most)
        value: dict[str, Any] = parse(content)
        fault = fault_of(value, kind)
    except FileNotFoundError:
        return None, None
    except UserError as error:
        fault = str(error)
    if fault:
        raise UserError(f"{path} is damaged: {fault}; {remedy}")
    return value, found


def write(path: Path, value: dict[str, Any], kind: Kind) -> None:
    """Replace a JSON file whole, by content that fits its schema and is sealed by a checksum where the kind says so.

    Raises:
        UserError: if the content does not fit: what could not be read back is not written.
        OSError: if the file can't be written.
    """
    if kind.sealed:
        value = {**value, "checksum": checksum(value)}
    check(value, kind, str(path))
    write_json(path, value)


def check(value: Any, kind: Kind, where: str) -> None:
    """Refuse content that does not fit a kind of file.

    Raises:
        UserError: if it does not fit; the message begins with ``where``.
    """
    fault = fault_of(value, kind)
    if fault:
        raise UserError(f"{where}: {fault}")


def read_lines(path: Path) -> tuple[list[dict[str, Any]], str]:
    """Return the rows of a ``reports.jsonl`` that fit, in the file's order, and what is wrong with the first that does not.

    A line that is no JSON was cut short by a crash, and is left out without a word. Of a file that is none, or is too large, no
    row is read.
    """
    try:
        content = read_bounded(path, REPORT_ROWS.most)
    except FileNotFoundError:
        return [], ""
    except UserError as error:
        return [], f"{path} is damaged: {error}; restore it, or remove the trial's folder"
    lines = content.splitlines()
    try:
        whole: list[dict[str, Any]] = from_json(b"[" + b",".join(lines) + b"]")
        REPORT_ROWS.validator.validate_python(whole)
        if not fault_of_rows(whole):
            return whole, ""
    except ValueError:
        pass  # line by line, then
    return _fitting(path, lines)


def fault_of_rows(rows: list[dict[str, Any]]) -> str:
    """Return the first fault in rows of epochs; empty where there is none."""
    return next((fault for row in rows if (fault := fields.row_fault(row, True))), "")


def fault_of_row(row: Any) -> str:
    """Return what does not fit in one line of ``reports.jsonl``; empty where all fits."""
    return fault_of(row, REPORT_ROW) or fault_of_rows([row])


def _fitting(path: Path, lines: list[bytes]) -> tuple[list[dict[str, Any]], str]:
    rows, fault = [], ""
    for number, line in enumerate(lines, start=1):
        try:
            row = from_json(line)
        except ValueError:
            continue
        wrong = fault_of_row(row)
        if not wrong:
            rows.append(row)
        elif not fault:
            fault = f"{path}:{number} is damaged: {wrong}; restore it, or remove the trial's folder"
    return rows, fault
