"""Addresses of databases and servers: asked once whether anybody answers there, and written without their passwords."""

from __future__ import annotations

import re
from pathlib import Path

WAIT_S = 5  # for which a database may take to let us in
# The databases that MLflow takes, with the names of their drivers' option for that time.
WAITS = {"sqlite": "timeout", "postgresql": "connect_timeout", "mysql": "connect_timeout"}
SECRET = r"(?i:password|passwd|pwd|sslpassword|token)=[^&\s'\"]*"  # as an option behind an address
SERVER = r"(?<!/)//(?!/)"  # what comes before a server's name: a file's address has three slashes


def public(text: str) -> str:
    """Return a text without the user names and passwords of the addresses in it."""
    return re.sub(rf"{SERVER}[^/\s]*@", "//", _without_secrets(text))


def without_password(address: str) -> str:
    """Return an address without its password, as it may be written down; the user's name stays."""
    return re.sub(rf"{SERVER}([^/@:]*):[^/]*@", r"//\1@", _without_secrets(address))


def _without_secrets(text: str) -> str:
    """Return a text without the passwords that stand as options behind an address."""
    return re.sub(rf"\?{SECRET}(&?)", lambda found: "?" if found[1] else "", re.sub(f"&{SECRET}", "", text))


def ask_database(address: str) -> None:
    """Look into a database once, which takes seconds where nobody answers; of a server, or another kind of store, do nothing.

    MLflow would try ten times, for 107 seconds, before it says why a database cannot be opened.

    Raises whatever SQLAlchemy or the database's driver raise.
    """
    from sqlalchemy import create_engine, inspect, make_url
    from sqlalchemy.exc import ArgumentError
    from sqlalchemy.pool import NullPool

    try:
        url = make_url(address)
    except ArgumentError:  # which MLflow explains
        return
    wait = WAITS.get(url.get_backend_name())
    if wait is None or (wait == WAITS["sqlite"] and not Path(url.database or "").parent.is_dir()):
        return  # MLflow makes the folder of a new database
    engine = create_engine(url, poolclass=NullPool, connect_args={} if wait in url.query else {wait: WAIT_S})
    try:
        inspect(engine).get_table_names()
    finally:
        engine.dispose()
