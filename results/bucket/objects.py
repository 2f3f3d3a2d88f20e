"""The objects of a bucket: read, listed, removed, and written with the conditions that two writers need."""

from __future__ import annotations

import contextlib
import datetime
import errno
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from results.bucket.address import SCHEMES, Address
from results.record.layout import LEASE, SWEEP
from trainer.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from obstore.store import ObjectStore

ABSENT = "absent"  # the condition of a write that there is no such object
RETRIES, RETRIED_S = 3, 20
CREDENTIALS_HOLD = datetime.timedelta(minutes=1)  # for which credentials are used before they are looked for again
RETRY = {"max_retries": RETRIES, "retry_timeout": datetime.timedelta(seconds=RETRIED_S)}


class BucketError(OSError):
    """Error of a bucket that does not answer or refuses: it passes when somebody sees to it, so that a driver waits."""

    def __init__(self, message: str) -> None:
        super().__init__(errno.EHOSTUNREACH, message)

    def __str__(self) -> str:
        return str(self.strerror)


class Conflict(Exception):
    """Raised where a conditional write fails: the object exists already, or has changed."""


class Tag(NamedTuple):
    """The mark of an object's content, which changes with it: S3 compares the first, Google Cloud Storage the second."""

    e_tag: str | None
    version: str | None

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Tag:
        """Return the tag that an answer of the bucket holds."""
        return cls(facts.get("e_tag"), facts.get("version"))


class Entry(NamedTuple):
    """An object in a listing."""

    key: str
    size: int
    tag: str


class Bucket:
    """The objects under an address. Their keys count from there, as ``SWEEP/sweep.json``.

    Args:
        address: the address.

    Raises:
        UserError: if the package for such addresses is not installed, or no credentials are found.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._store = _open(address)

    def get(self, key: str) -> tuple[bytes, Tag] | None:
        """Return an object's content and its tag; None where there is no such object.

        Raises:
            BucketError: if the bucket does not answer, or refuses.
        """
        import obstore

        try:
            found = obstore.get(self._store, key)
            return bytes(found.bytes()), Tag.of(found.meta)
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise self._error(error) from None
            return None
        except obstore.exceptions.BaseError as error:
            raise self._error(error) from None

    def put(self, key: str, content: bytes | IO[bytes], condition: str | Tag | None = None) -> Tag:
        """Write an object whole and return its new tag.

        Args:
            key: the object's key.
            content: what it is to hold; an open file is sent in parts.
            condition: :data:`ABSENT`, or the tag that the object must have.

        Raises:
            Conflict: if the condition does not hold.
            BucketError: if the bucket does not answer, or refuses.
        """
        import obstore

        mode: Any = "create" if condition == ABSENT else "overwrite"
        if isinstance(condition, Tag):
            mode = {name: value for name, value in condition._asdict().items() if value is not None}
        try:
            return Tag.of(obstore.put(self._store, key, content, mode=mode))
        except (obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError):
            raise Conflict(f"{self.address}/{key}") from None
        except (obstore.exceptions.BaseError, FileNotFoundError) as error:
            raise self._error(error) from None

    def entries(self, prefix: str) -> Iterator[Entry]:
        """List the objects whose key begins with ``prefix/``; all where it is empty.

        Raises:
            BucketError: if the bucket does not answer, or refuses.
        """
        import obstore

        try:
            for page in obstore.list(self._store, prefix or None):
                yield from (Entry(str(o["path"]), int(o["size"]), str(o["e_tag"])) for o in page)
        except (obstore.exceptions.BaseError, FileNotFoundError) as error:
            raise self._error(error) from None

    def has(self, key: str) -> bool:
        """Tell whether there is an object of this key.

        Raises:
            BucketError: if the bucket does not answer, or refuses.
        """
        import obstore

        try:
            obstore.head(self._store, key)
            return True
        except FileNotFoundError:
            return False
        except obstore.exceptions.BaseError as error:
            raise self._error(error) from None

    def sweeps(self) -> list[str]:
        """Return the names of the sweeps under the address, sorted.

        Raises:
            BucketError: if the bucket does not answer, or refuses.
        """
        import obstore

        try:
            found = obstore.list_with_delimiter(self._store)["common_prefixes"]
        except (obstore.exceptions.BaseError, FileNotFoundError) as error:
            raise self._error(error) from None
        names = sorted(str(prefix).rstrip("/").rpartition("/")[2] for prefix in found)
        return [name for name in names if self.has(f"{name}/{SWEEP}")]

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; one that is not there is no error.

        Raises:
            BucketError: if the bucket does not answer, or refuses.
        """
        import obstore

        for key in keys:
            try:
                obstore.delete(self._store, key)
            except FileNotFoundError:
                continue
            except obstore.exceptions.BaseError as error:
                raise self._error(error) from None

    def check(self) -> None:
        """Ask for something, so that a wrong address is refused at once.

        Raises:
            UserError: if the bucket does not exist, does not answer, or refuses the credentials.
        """
        try:
            next(self.entries("alphacl-probe"), None)
        except BucketError as error:
            raise UserError(f"--storage: {error}") from None

    def _error(self, error: BaseException) -> BucketError:
        return BucketError(f"{self.address}: {_reason(self.address, error)}")


def _open(address: Address) -> ObjectStore:
    extra = SCHEMES[address.scheme]
    try:
        import obstore.store
    except ImportError:
        raise UserError(f"--storage {address}: install what reads such addresses: pip install 'alphacl[{extra}]'") from None
    options: dict[str, Any] = {"retry_config": RETRY, "client_options": {"timeout": "60s", "connect_timeout": "5s"}}
    if address.scheme == "s3":
        options["client_options"]["allow_http"] = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
        options["credential_provider"] = _aws_credentials(address)
    try:
        store: ObjectStore = obstore.store.from_url(address.text, **options)
    except Exception as error:  # noqa: BLE001 - a wrong address or a credentials file that can't be read raises anything
        raise UserError(f"--storage {address}: {_reason(address, error)}") from None
    return store


class AwsCredentials:
    """AWS's credentials from all the places where its own tools look for them, for a client that asks again every minute.

    Those of a role renew themselves. Others are looked for anew, so that a driver which waits for a bucket that refuses old
    credentials goes on once somebody has written new ones. ``config`` is what else the client takes from there.

    Raises:
        ImportError: if the packages for that are not installed.
        Exception: if there are no credentials, or a profile is wrong.
    """

    def __init__(self) -> None:
        self._found = self._look()
        self.config = self._found.config

    @staticmethod
    def _look() -> Any:
        from obstore.auth.boto3 import Boto3CredentialProvider

        return Boto3CredentialProvider(ttl=CREDENTIALS_HOLD)

    def __call__(self) -> Any:
        """Return the credentials, and until when they are used."""
        from botocore.credentials import RefreshableCredentials

        if not isinstance(self._found.credentials, RefreshableCredentials):
            with contextlib.suppress(Exception):  # somebody is just writing the file
                self._found = self._look()
        return self._found()


def _aws_credentials(address: Address) -> AwsCredentials:
    """Return the credentials. Raises UserError where there are none."""
    try:
        return AwsCredentials()
    except ImportError:
        raise UserError(f"--storage {address}: install what reads such addresses: pip install 'alphacl[s3]'") from None
    except Exception:  # noqa: BLE001 - none were found, or a profile is wrong
        raise UserError(
            f"--storage {address}: no credentials; 'aws configure' writes them, or set AWS_ACCESS_KEY_ID and"
            " AWS_SECRET_ACCESS_KEY, or give the machine a role"
        ) from None


def _reason(address: Address, error: BaseException) -> str:
    """Return in one line why a bucket refused or did not answer."""
    text = str(error)
    code = re.search(r"<Code>(\w+)</Code>", text)
    if "NoSuchBucket" in text or "bucket does not exist" in text:
        return f"there is no bucket {address.bucket!r}"
    if code:
        message = re.search(r"<Message>([^<]*)</Message>", text)
        return f"the bucket refused ({code[1]}{': ' + message[1] if message else ''})"
    if "HTTP error" in text or "error sending request" in text:
        return "the bucket does not answer"
    return (text.strip().splitlines() or [type(error).__name__])[0][:200]


def remove_sweep(bucket: Bucket, name: str) -> None:
    """Remove a sweep from a bucket, but for its lease: first what makes it one, so that no half of it is taken for a sweep.

    Raises:
        BucketError: if the bucket does not answer, or refuses.
    """
    bucket.delete([f"{name}/{SWEEP}"])
    bucket.delete(entry.key for entry in bucket.entries(name) if not entry.key.endswith(f"/{LEASE}"))


def no_sweep(bucket: Bucket, name: str) -> UserError:
    """Return the error that there is no sweep of a name under the address."""
    known = bucket.sweeps()
    return UserError(f"no sweep {name!r} in {bucket.address}{did_you_mean(name, known) if known else '; it has none yet'}")
