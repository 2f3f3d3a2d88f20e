"""Addresses of databases and servers, which are asked once, and written without their passwords."""

import sqlite3
import time

import pytest

from results.record.store_address import ask_database, public, without_password


@pytest.mark.parametrize(
    ("address", "kept", "shown"),
    [
        ("postgresql://me:secret@host:5/db", "postgresql://me@host:5/db", "postgresql://host:5/db"),
        ("postgresql+psycopg://me:se@cret@host/db", "postgresql+psycopg://me@host/db", "postgresql+psycopg://host/db"),
        ("postgresql://me@host/db?password=secret", "postgresql://me@host/db", "postgresql://host/db"),
        ("postgresql://host/db?user=me&password=secret&x=1", "postgresql://host/db?user=me&x=1", None),
        ("postgresql://host/db?password=secret&x=1", "postgresql://host/db?x=1", None),
        ("http://ada:secret@127.0.0.1:5000", "http://ada@127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("http://:secret@host", "http://@host", "http://host"),
        ("sqlite:////home/a:b@c/mlflow.db", "sqlite:////home/a:b@c/mlflow.db", None),
    ],
)
def test_an_address_is_written_down_without_its_password(address, kept, shown):
    assert without_password(address) == kept
    assert public(f"it is {address} there") == f"it is {shown or kept} there"


@pytest.mark.slow
def test_a_database_that_cannot_be_opened_is_told_within_seconds(tmp_path):
    (tmp_path / "garbage.db").write_bytes(b"this is no database" * 1000)
    locked = sqlite3.connect(tmp_path / "locked.db", isolation_level=None)
    locked.execute("CREATE TABLE t (x)")
    locked.execute("BEGIN EXCLUSIVE")
    cases = {
        f"sqlite:///{tmp_path}/garbage.db": "file is not a database",
        f"sqlite:///{tmp_path}/locked.db?timeout=1": "database is locked",
        f"sqlite:///{tmp_path}": "unable to open database file",
        "postgresql+psycopg://me@127.0.0.1:1/db": "refused",
    }
    for address, why in cases.items():
        began = time.monotonic()
        with pytest.raises(Exception, match=why):
            ask_database(address)
        assert time.monotonic() - began < 30
    locked.close()
    for address in (f"sqlite:///{tmp_path}/garbage/new.db", "http://ada:secret@127.0.0.1:1", "nonsense"):
        ask_database(address)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["garbage.db", "locked.db"]
