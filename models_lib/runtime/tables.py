"""The file behind the runtime's state: its tables, and whether it may be used.

What does not belong here: what is written into the tables, and when (state.py).
"""

import sqlite3
from pathlib import Path
from typing import Final

from models_lib.errors import ConfigError, DataError

STATE_VERSION: Final = 1
"""Layout of the tables, kept as SQLite's `user_version`."""

_TABLES = """
CREATE TABLE bars (
    symbol TEXT NOT NULL, bar_ms INTEGER NOT NULL, bundle TEXT, down REAL, neutral REAL, up REAL, refusal TEXT,
    judged INTEGER NOT NULL DEFAULT 0, class INTEGER, forward_return REAL,
    PRIMARY KEY (symbol, bar_ms)
) WITHOUT ROWID;
CREATE INDEX unjudged ON bars (symbol, bar_ms) WHERE judged = 0 AND up IS NOT NULL;
CREATE TABLE signals (
    number INTEGER PRIMARY KEY, symbol TEXT NOT NULL, bar_ms INTEGER NOT NULL, bundle TEXT NOT NULL,
    expires_ms INTEGER NOT NULL, json TEXT NOT NULL, outcome TEXT,
    ending TEXT, r REAL, r_after_costs REAL, hit INTEGER, UNIQUE (symbol, bar_ms)
);
CREATE INDEX unscored ON signals (symbol, expires_ms) WHERE outcome IS NULL;
CREATE INDEX of_bundle ON signals (symbol, bundle);
CREATE TABLE told (
    number INTEGER NOT NULL, channel TEXT NOT NULL, status TEXT NOT NULL, attempts INTEGER NOT NULL, error TEXT,
    PRIMARY KEY (number, channel)
) WITHOUT ROWID;
CREATE INDEX waiting ON told (channel, status);
CREATE TABLE bundles (hash TEXT PRIMARY KEY, json TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE alarms (
    symbol TEXT NOT NULL, figure TEXT NOT NULL, since_ms INTEGER NOT NULL, PRIMARY KEY (symbol, figure)
) WITHOUT ROWID;
"""


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Checks the file, and makes the tables of a new one."""
    try:
        version = _checked_version(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        if version == 0:
            connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {STATE_VERSION}; COMMIT;")
    except sqlite3.OperationalError as error:
        raise ConfigError(f"{path}: the runtime's state cannot be opened ({error}). Make it writable.") from error
    except sqlite3.DatabaseError as error:
        raise damaged(path, error) from error


def _checked_version(connection: sqlite3.Connection, path: Path) -> int:
    """The layout of an undamaged file; 0 for a new one."""
    found: str = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(found)
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > STATE_VERSION:
        raise ConfigError(
            f"{path}: the runtime's state has layout {version}, this runtime reads up to {STATE_VERSION}. "
            f"Install the newer crpbot-runtime that wrote it."
        )
    return version


def damaged(path: Path, error: sqlite3.DatabaseError) -> DataError:
    """What to do about a file that SQLite cannot read."""
    said = " ".join(str(error).split())
    return DataError(
        f"{path}: the runtime's state is damaged ({said}). Move it aside together with {path.name}-wal and "
        f"{path.name}-shm, and start the runtime: it goes on with the numbers of signals.jsonl."
    )
