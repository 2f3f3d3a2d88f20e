"""Requests to the driver of a sweep in a bucket: an object for each, which the driver looks for and removes."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from results.bucket.objects import ABSENT, Bucket, BucketError
from results.record import schema
from results.record.driver_requests import StopRequest, new_request
from results.record.layout import REQUESTS
from trainer.errors import UserError


def request_stop(bucket: Bucket, sweep: str, digests: list[str]) -> StopRequest:
    """Ask the driver of a sweep to stop these trials, or the whole sweep where none is given, and return the request.

    Args:
        bucket: where the sweep lies.
        sweep: its name.
        digests: the trials.

    Raises:
        UserError: if the bucket does not answer, or refuses.
    """
    name, body = new_request(digests)
    key = f"{sweep}/{REQUESTS}/{name}"
    try:
        bucket.put(key, json.dumps(body).encode(), ABSENT)
    except BucketError as error:
        raise UserError(f"--storage: {error}") from None
    return _of(bucket, key, body)


def read_requests(bucket: Bucket, sweep: str) -> list[StopRequest]:
    """Return the requests to the driver of a sweep, oldest first; one that cannot be read is removed.

    Raises:
        BucketError: if the bucket does not answer, or refuses.
    """
    requests = []
    for key in sorted(entry.key for entry in bucket.entries(f"{sweep}/{REQUESTS}")):
        found = bucket.get(key)
        try:
            body = schema.parse(found[0]) if found else None
            if body is not None and schema.fault_of(body, schema.STOP_REQUEST_FILE):
                raise UserError("it does not fit")
        except UserError:
            bucket.delete([key])
            continue
        if body is not None:
            requests.append(_of(bucket, key, body))
    return requests


def _of(bucket: Bucket, key: str, body: dict[str, Any]) -> StopRequest:
    place, digests, by = f"{bucket.address}/{key}", tuple(body["stop"]), str(body.get("by", ""))
    return StopRequest(place, digests, by, partial(bucket.delete, [key]), partial(bucket.has, key))
