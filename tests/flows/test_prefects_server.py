"""What our servers change about Prefect's: writers that wait on SQLite, answers that are sent at once, its settings."""

import asyncio
import os
import socket
from pathlib import Path

import pytest
from prefect.server.api.server import create_app
from prefect.server.database.configurations import AioSqliteConfiguration
from prefect.settings import Settings
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from starlette.routing import BaseRoute

from flows import prefect_environment
from flows.loopback import listen_on_loopback
from flows.route_order import ASKED_BY_RUNS, api_routes, prefix_of, put_first
from flows.sqlite_writers import let_writers_wait
from tests.flows.running import crpbot


async def _write(database: AioSqliteConfiguration, statement: str) -> None:
    async with await database.session(await database.engine()) as session, database.begin_transaction(session):
        await session.execute(text(statement))


async def _read_and_write_while_another_writes(path: Path, *, wait_seconds: float) -> list[int]:
    """A transaction as Prefect's services make them, which writes what follows from what it read.

    Args:
        path: of the database.
        wait_seconds: how long the other one has for its write between the two, unless it is done before.
    """
    database = AioSqliteConfiguration(f"sqlite+aiosqlite:///{path}")
    await _write(database, "CREATE TABLE runs (number INTEGER)")
    engine = await database.engine()
    async with await database.session(engine) as session, database.begin_transaction(session):
        await session.execute(text("SELECT count(*) FROM runs"))
        other = asyncio.create_task(_write(database, "INSERT INTO runs VALUES (2)"))
        await asyncio.wait({other}, timeout=wait_seconds)
        await session.execute(text("INSERT INTO runs VALUES (1)"))
    await other
    async with await database.session(engine) as session:
        return list((await session.execute(text("SELECT number FROM runs"))).scalars())


def test_prefect_still_begins_transactions_that_sqlite_refuses(tmp_path: Path) -> None:
    """The reason for flows/sqlite_writers.py. When this fails, Prefect has mended it, and the module can go."""
    with pytest.raises(OperationalError, match="database is locked"):
        asyncio.run(_read_and_write_while_another_writes(tmp_path / "prefect.db", wait_seconds=60.0))


def test_writers_wait_for_their_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AioSqliteConfiguration, "begin_transaction", AioSqliteConfiguration.begin_transaction)
    let_writers_wait()
    assert asyncio.run(_read_and_write_while_another_writes(tmp_path / "prefect.db", wait_seconds=0.5)) == [1, 2]


def test_answers_on_an_accepted_connection_are_sent_at_once() -> None:
    with listen_on_loopback(0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_routers_that_a_run_asks_come_first_and_take_no_request_from_another() -> None:
    """Only where no other router's paths begin alike, the order decides nothing but the time."""
    app = create_app(ephemeral=True, ignore_cache=True)
    before = [prefix_of(route) for route in api_routes(app)]
    put_first(app, ASKED_BY_RUNS)
    after = [prefix_of(route) for route in api_routes(app)]
    assert tuple(after[: len(ASKED_BY_RUNS)]) == ASKED_BY_RUNS
    assert after[len(ASKED_BY_RUNS) :] == [prefix for prefix in before if prefix not in ASKED_BY_RUNS]
    unprefixed = [path for route in api_routes(app) if prefix_of(route) == "" for path in paths_of(route)]
    for prefix in ASKED_BY_RUNS:
        alike = [other for other in (*before, *unprefixed) if f"{other}/".startswith(f"{prefix}/")]
        assert alike == [prefix]


def paths_of(route: BaseRoute) -> list[str]:
    """Of the routes of a router without a prefix."""
    return [one.path for one in route.original_router.routes]  # type: ignore[attr-defined]


def test_every_setting_is_one_that_prefect_knows(tmp_path: Path) -> None:
    """A misspelt one would be ignored in silence."""
    ours = prefect_environment.of_a_run(tmp_path, own_server=True)
    for name, value in ours.items():
        with pytest.MonkeyPatch.context() as environment:
            for other in {*os.environ, *ours}:
                if other.startswith("PREFECT_"):
                    environment.delenv(other, raising=False)
            environment.setenv(name, value)
            known = Settings().to_environment_variables(exclude_unset=True)
            assert known or not name.startswith("PREFECT_"), name


@pytest.mark.long
def test_server_that_cannot_start_is_given_up_and_the_reason_is_told(tmp_path: Path) -> None:
    """Its database is no database; each of its lives ends with that."""
    (tmp_path / "prefect").mkdir()
    (tmp_path / "prefect" / "prefect.db").write_bytes(b"no database" * 1_000)
    answer = crpbot(tmp_path, "run", "--symbols", "BTC-USD")
    assert answer.returncode == 1
    assert "file is not a database" in answer.stderr
    assert "move " + str(tmp_path / "prefect" / "prefect.db") in answer.stderr
