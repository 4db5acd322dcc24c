"""One Prefect harness a session for everything that runs a flow in this process; started by the first test that asks.

Every test that uses it carries `pytest.mark.prefect` and `pytest.mark.xdist_group("prefect")`, so that all of them share
one server.
"""

import os
from collections.abc import Iterator

import pytest

from flows.prefect_environment import of_a_run
from flows.prefect_server import OwnServer
from tests.flows.serving import Receiver

# Read by Prefect when it is imported, which no test module does at its top.
os.environ.update({"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"})


@pytest.fixture(scope="session")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A server on loopback with a fresh database; heartbeats and log shipping, which cost a second a run, are off.

    It is the server of `crpbot run`, not the one of Prefect's test harness: that one looks for a free port, lets go of it
    and binds it seconds later, when a test in another process may have it.
    """
    from prefect.events.worker import EventsWorker
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_HOME,
        PREFECT_LOGGING_TO_API_ENABLED,
        PREFECT_SERVER_ANALYTICS_ENABLED,
        temporary_settings,
    )

    home = tmp_path_factory.mktemp("prefect-home")
    server = OwnServer(home / "server.log", of_a_run(home, own_server=True))
    server.wait_until_it_answers()
    settings = {
        PREFECT_API_URL: server.url,
        PREFECT_HOME: home,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
        PREFECT_LOGGING_TO_API_ENABLED: False,
        PREFECT_SERVER_ANALYTICS_ENABLED: False,
    }
    with temporary_settings(settings):
        yield
        EventsWorker.drain_all()
    server.end()


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """Takes the messages of one module's server."""
    one = Receiver()
    yield one
    one.close()
