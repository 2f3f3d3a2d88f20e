"""The lease of a sweep in a bucket: an object that its driver renews by conditional writes, so that a sweep has one driver.

What a crash leaves on a driver's own machine is taken up by :mod:`orchestrator.driver.run_sweep`.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from results.bucket.fetch import Copy, lease_of
from results.bucket.objects import ABSENT, BucketError, Conflict, Tag
from results.record.layout import LEASE
from trainer.errors import UserError

HELD_S = 30.0  # for which a lease that is not renewed still holds; no clocks of two machines are compared
RENEWED_S = 8.0


class Lease:
    """The right to drive a sweep of a bucket, renewed by a thread until it is released.

    Args:
        copy: the sweep's copy on this machine.
        on_loss: is called from the thread where another driver has taken the sweep.
    """

    def __init__(self, copy: Copy, on_loss: Callable[[], None]) -> None:
        self.copy, self.on_loss = copy, on_loss
        self.key, self.owner = f"{copy.name}/{LEASE}", uuid.uuid4().hex
        self.lost = False
        self.is_unused = False  # the bucket holds nothing else of this sweep: release() removes the lease, too
        self._generation = 0
        self._tag: Tag | None = None  # none before the lease is held
        self._renewed = time.monotonic()
        self._over, self._pen = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def take(self, say: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
        """Take the lease, renew it from now on, and return what the lease said before.

        A lease that another machine holds is watched for ``HELD_S`` seconds: a lease that is not renewed in that time belongs
        to a dead driver. The lease of an earlier driver of this machine is taken at once, for its lock on the copy is free.

        Args:
            say: is given a line where this takes long.

        Raises:
            UserError: if another driver holds the sweep.
            BucketError: if the bucket does not answer.
        """
        key, bucket = self.key, self.copy.bucket
        found = bucket.get(key)
        held = lease_of(found)
        is_ahead = self.copy.is_ahead(held)
        if found is not None and held.get("held") and not is_ahead:
            where = f"process {held.get('pid')} on {held.get('host')}"
            say(f"waiting up to {HELD_S:g} s to see whether the driver of {self.copy.name!r} still lives ({where})")
            deadline = time.monotonic() + HELD_S
            while time.monotonic() < deadline:
                time.sleep(1)
                now = bucket.get(key)
                if now is None or now[1] != found[1]:
                    raise self._taken(lease_of(now))
        if is_ahead:  # written down before it holds, so that a crash between the two leaves a copy that is known
            self.copy.own(self.owner, str(held["owner"]))
        self._generation = int(held.get("generation") or 0) + 1
        try:
            self._tag = bucket.put(key, self._content(True), found[1] if found else ABSENT)
        except Conflict:
            raise self._taken(lease_of(bucket.get(key))) from None
        self._renewed = time.monotonic()
        self._thread.start()
        return held

    def _taken(self, by: dict[str, Any]) -> UserError:
        name, address = self.copy.name, self.copy.bucket.address
        return UserError(
            f"the sweep {name!r} is being run by process {by.get('pid')} on {by.get('host')};"
            f" follow it with 'alphacl status {name} --storage {address}'"
        )

    def _content(self, held: bool) -> bytes:
        body = {"owner": self.owner, "generation": self._generation, "held": held, "renewed": time.time()}
        return json.dumps({**body, "host": os.uname().nodename, "pid": os.getpid()}).encode()

    def check(self) -> None:
        """Make sure before a write that the lease holds, renewing it where it may have run out meanwhile.

        Raises:
            BucketError: if the bucket does not answer, or another driver has the sweep.
        """
        if not self.lost and time.monotonic() - self._renewed > HELD_S / 2:
            self._renew_once()
        if self.lost:
            raise BucketError(f"{self.copy.bucket.address}: another driver has taken the sweep {self.copy.name!r}")

    def _renew_once(self) -> None:
        with self._pen:
            if self.lost or self._over.is_set():
                return
            began = time.monotonic()
            try:
                self._tag = self.copy.bucket.put(self.key, self._content(True), self._tag)
                self._renewed = began
            except Conflict:
                if not self._is_mine_after_all():
                    self.lost = True

    def _is_mine_after_all(self) -> bool:
        """Tell whether the object is this lease: then it was written by a request whose answer was lost."""
        found = self.copy.bucket.get(self.key)
        if found is None or lease_of(found).get("owner") != self.owner:
            return False
        self._tag = found[1]
        return True

    def _renew(self) -> None:
        while not self._over.wait(RENEWED_S):
            with contextlib.suppress(BucketError):  # the bucket does not answer: nobody else can take the lease either
                self._renew_once()
            if self.lost:
                self.on_loss()
                return

    def release(self) -> None:
        """Let others take the sweep at once; where the bucket does not answer they wait as after a crash."""
        self._over.set()
        with self._pen, contextlib.suppress(BucketError, Conflict):
            if self._tag and not self.lost:
                self._tag = self.copy.bucket.put(self.key, self._content(False), self._tag)
                if self.is_unused:
                    self.copy.bucket.delete([self.key])
