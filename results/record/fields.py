"""The fields of a sweep folder's JSON files as schemas of pydantic-core: types, ranges, lengths."""

from __future__ import annotations

import dataclasses
import datetime
import functools
from typing import Any

from pydantic_core import core_schema as cs

from results.record.layout import ATTEMPT_NAME, DIGEST
from results.record.status import Status
from trainer.config import MOST, MOST_EPOCHS, TrialConfig
from trainer.metrics import is_accuracy
from trainer.terminal import printable

LINE = r"^[^\p{C}\p{Zl}\p{Zp}]*$"  # one line: no control, format, surrogate or unassigned characters
LATEST = 1e11  # the latest time, in seconds since 1970
TIME = cs.float_schema(strict=True, ge=0, le=LATEST, allow_inf_nan=False)
NUMBER = cs.float_schema(strict=True)  # NaN is a value that diagnostics may have
FINITE = cs.float_schema(strict=True, allow_inf_nan=False)
WHOLE = cs.int_schema(strict=True, ge=-(2**63), le=2**63 - 1)
TRUTH = cs.bool_schema(strict=True)
COUNT = cs.int_schema(strict=True, ge=0, le=MOST_EPOCHS)
AT_LEAST = {"epochs": 0, "seed": 0, "projection_dim": 1, "batch_size": 2, "warmup": 0, "knn_k": 1, "images": 1, "image_size": 1,
            "probe_every": 1}  # fmt: skip
Field = cs.CoreSchema


def text(most: int = 200, least: int = 0, pattern: str = LINE) -> Field:
    """Return the schema of a text of one line."""
    return cs.str_schema(strict=True, pattern=pattern, min_length=least, max_length=most)


def optional(schema: Field) -> Field:
    """Return the schema of a value that may be null."""
    return cs.nullable_schema(schema)


def listing(schema: Field, most: int = 100_000) -> Field:
    """Return the schema of a list."""
    return cs.list_schema(schema, strict=True, max_length=most)


def mapping(values: Field, most: int = 2000) -> Field:
    """Return the schema of an object whose keys are names."""
    return cs.dict_schema(text(least=1), values, strict=True, max_length=most)


def of(required: dict[str, Field], known: dict[str, Field], others: Field | None = None) -> Field:
    """Return the schema of an object.

    Args:
        required: the keys that must be there.
        known: those that may be.
        others: the schema of all other keys; anything when not given.
    """
    made = {key: cs.typed_dict_field(schema, required=True) for key, schema in required.items()}
    made |= {key: cs.typed_dict_field(schema, required=False) for key, schema in known.items()}
    return cs.typed_dict_schema(made, extra_behavior="allow", extras_schema=others or cs.any_schema(), strict=True)


SCALAR = cs.union_schema([cs.none_schema(), TRUTH, WHOLE, FINITE, text(10_000)], mode="left_to_right")
PLAIN = cs.union_schema([SCALAR, listing(SCALAR, 1000)], mode="left_to_right")
CHECKSUM = text(64, 64, "^[0-9a-f]*$")
NAMED = text(64, 1, f"^{DIGEST}$")
ROLE = cs.literal_schema(["trial", "confirm"])


def settings() -> Field:
    """Return the schema of a trial's configuration, with the types that :class:`trainer.TrialConfig` gives its settings."""
    known = {field.name: _setting(field.name, str(field.type)) for field in dataclasses.fields(TrialConfig)}
    required = {name: known.pop(name) for name in ("dataset", "objective", "seed", "epochs")}
    return _named(of(required, known, PLAIN))


def _named(schema: Field) -> Field:
    """Return the schema of an object whose every key is a name."""
    return cs.chain_schema([mapping(cs.any_schema()), schema])


def _setting(name: str, annotation: str) -> Field:
    kind, _, may_be_none = annotation.partition(" | ")
    low = AT_LEAST.get(name, -(2**63))
    schemas: dict[str, Field] = {
        "int": cs.int_schema(strict=True, ge=low, le=MOST if name != "seed" else 2**63 - 1), "float": FINITE, "bool": TRUTH,
        "str": text(10_000, 1), "tuple[int, ...]": listing(COUNT, 10_000),
    }  # fmt: skip
    return optional(schemas[kind]) if may_be_none else schemas[kind]


def entry() -> Field:
    """Return the schema of a trial's ``config.json``: its configuration, its index in the sweep and its role."""
    return of({"config": settings()}, {"digest": NAMED, "place": COUNT, "role": ROLE, "checksum": CHECKSUM})


def _results() -> dict[str, Field]:
    return {
        "version": COUNT, "config": settings(), "metrics": mapping(NUMBER), "history": reports(), "protocol": text(),
        "pretrained": mapping(PLAIN), "seconds": cs.float_schema(strict=True, ge=0, le=1e11, allow_inf_nan=False),
        "finished": text(), "environment": mapping(PLAIN), "checksum": CHECKSUM, "run": text(),
    }  # fmt: skip


def result() -> Field:
    """Return the schema of a trial's ``result.json``: the record and the attempt that made it."""
    return of({"digest": NAMED}, {**_results(), "attempt": text(20, 1, f"^{ATTEMPT_NAME}$")})


def record() -> Field:
    """Return the schema of a single run's JSON record, as ``python -m trainer --record`` and ``alphacl export`` write it."""
    known = {**_results(), "role": ROLE}
    required = {"digest": NAMED, **{key: known.pop(key) for key in ("config", "metrics", "history")}}
    return of(required, known)


def error() -> Field:
    """Return the schema of an attempt's ``error.json``; its message may have many lines, and is cleaned where it is shown."""
    kind = cs.literal_schema([str(Status.FAILED), str(Status.DIVERGED)])
    place = {"error": text(5000), "file": text(5000), "line": WHOLE, "function": text(5000), "code": text(5000)}
    return of({"kind": kind, "message": cs.str_schema(strict=True)}, {"at": TIME, "checksum": CHECKSUM, **place})


def stopped() -> Field:
    """Return the schema of a trial's ``stopped.json``."""
    known = {"metric": text(), "value": optional(NUMBER), "by": text(), "at": TIME, "checksum": CHECKSUM}
    return of({"epoch": COUNT}, known)


def stop_request() -> Field:
    """Return the schema of a request to the driver to stop trials, or the whole sweep where none is named."""
    return of({"stop": listing(NAMED)}, {"by": text()})


def driver() -> Field:
    """Return the schema of ``driver.json``, the process that runs a sweep."""
    return of({}, {"pid": WHOLE, "host": text(), "started": TIME})


def lease() -> Field:
    """Return the schema of ``lease.json``, the process that drives a sweep of a bucket."""
    keys = {
        "owner": text(),
        "host": text(),
        "pid": WHOLE,
        "generation": WHOLE,
        "held": cs.bool_schema(strict=True),
        "renewed": TIME,
    }
    return of({}, keys)


def report() -> Field:
    """Return the schema of a line of ``reports.jsonl``; its epoch and its time are looked at by :func:`row_fault`."""
    return mapping(NUMBER)


def reports() -> Field:
    """Return the schema of all lines of ``reports.jsonl``, and of a record's history."""
    return listing(report(), 1_000_000)


def row_fault(row: dict[str, float], has_epoch: bool) -> str:
    """Return what is out of range in a row of metrics; empty where nothing is.

    Args:
        row: numbers by name.
        has_epoch: whether the row is of an epoch, rather than a trial's final metrics.
    """
    if has_epoch:
        epoch, at = row.get("epoch"), row.get("at", 0)
        if type(epoch) is not int or not 0 <= epoch <= MOST_EPOCHS:
            return f"epoch: expected a whole number from 0 to {MOST_EPOCHS}, got {epoch!r}"
        if not 0 <= at <= LATEST:
            return f"at: expected seconds since 1970, got {at!r}"
    for name in _accuracies(tuple(row)):
        if not 0 <= row[name] <= 100:
            return f"expected 0 <= {name} <= 100, got {row[name]!r}"
    return ""


@functools.lru_cache(maxsize=64)
def _accuracies(names: tuple[str, ...]) -> list[str]:
    """Return those names of a row's metrics that are accuracies; rows have few sets of names."""
    return [name for name in names if is_accuracy(name)]


def sweep() -> Field:
    """Return the schema of ``sweep.json``, what was launched."""
    trials = cs.int_schema(strict=True, ge=0, le=10**7)
    gpu = cs.float_schema(strict=True, ge=0, le=1e6, allow_inf_nan=False)
    known: dict[str, Field] = {
        "layout": COUNT, "created": _moment(), "kind": cs.literal_schema(["grid", "search", "records"]), "gpu": gpu,
        "settled_at": optional(trials), "search_trials": optional(trials), "environment": mapping(SCALAR),
        "plugin_path": listing(text(5000), 100), "tracking_uri": optional(text(5000)), "study_storage": optional(text(5000)),
        "reuse": listing(text(5000), 100), "imported_from": text(5000), "read_from": text(), "seal": optional(text()),
    }  # fmt: skip
    return of({"name": text(), "trials": trials, "id": text(200, 0, r"^[\w.-]*$")}, known)


def _moment() -> Field:
    """Return the schema of a time in ISO format."""

    def check(value: str) -> str:
        try:
            moment = datetime.datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("expected a time such as 2026-11-24T00:00:00+00:00") from None
        if not 1971 <= moment.year <= 3000:
            raise ValueError("expected a time after 1970")
        return value

    return cs.no_info_after_validator_function(check, text(50))


def cleaned(message: Any) -> str:
    """Return an error's message made safe to print, cut to 5,000 characters."""
    return printable(str(message), 5000, lines=True)
