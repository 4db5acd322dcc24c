"""Prefect's transactions on SQLite take the write lock when they begin, so that a writer waits its turn.

Prefect begins most of them DEFERRED: the first statement reads, a later one writes, and when another connection wrote
in between, SQLite refuses at once (SQLITE_BUSY_SNAPSHOT; its busy timeout does not apply, because waiting could not
help: https://sqlite.org/rescode.html#busy_snapshot). A request then ends in 503 and the client comes back two seconds
later: a run of three symbols lost ten seconds so. A service of the server loses what it was about to write. With BEGIN
IMMEDIATE the second writer waits milliseconds instead. PostgreSQL has no part in this.

What does not belong here: where the database is (prefect_environment.py, flows/serving/settings.py).
"""

from contextlib import AbstractAsyncContextManager

from prefect.server.database.configurations import AioSqliteConfiguration
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction

_begin_as_prefect_does = AioSqliteConfiguration.begin_transaction


def _begin_immediate(
    configuration: AioSqliteConfiguration,
    session: AsyncSession,
    with_for_update: bool = False,  # noqa: ARG001  Prefect's signature
) -> AbstractAsyncContextManager[AsyncSessionTransaction]:
    return _begin_as_prefect_does(configuration, session, with_for_update=True)


def let_writers_wait() -> None:
    """Makes every transaction of the server in this process begin IMMEDIATE; to be called before it is started."""
    AioSqliteConfiguration.begin_transaction = _begin_immediate  # type: ignore[method-assign,assignment]
