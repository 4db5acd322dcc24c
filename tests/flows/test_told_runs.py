"""The steps that tell people, as Prefect runs them: what fails there changes nothing, and Prefect learns no secret."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from models_lib.config import load_config
from models_lib.notifications import Notice
from models_lib.steps.plan import RunPlan, plan_run
from tests.contracts.endpoints import CANARY, SECRETS, HttpEndpoint

pytestmark = [pytest.mark.prefect, pytest.mark.xdist_group("prefect")]
NOW = datetime(2026, 11, 21, 2, 30, tzinfo=UTC)
NOTICE = Notice(event="failed", run_id="r1", symbol="BTC-USD", reason="why", time=NOW)


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpEndpoint]:
    """Every secret is in the environment; the endpoint answers 500."""
    endpoint = HttpEndpoint("failing")
    for name in ("CRPBOT_SLACK_WEBHOOK_URL", "CRPBOT_DEAD_MAN_URL"):
        monkeypatch.setenv(name, endpoint.url)
    monkeypatch.setenv("CRPBOT_SMTP_PASSWORD", CANARY)
    monkeypatch.delenv("CRPBOT_APPRISE_URLS", raising=False)
    yield endpoint
    endpoint.close()


@pytest.fixture
def plan(tmp_path: Path) -> RunPlan:
    email = "{host: localhost, port: 1, user: bot, sender: bot@here.test, recipients: [me@there.test]}"
    config = load_config(None, [f"notifications.email={email}"])
    return plan_run(config, home=tmp_path / "home", symbols=None, who="test", now=NOW)


@pytest.mark.usefixtures("prefect")
def test_dead_endpoints_change_no_run_and_no_secret_is_kept(endpoint: HttpEndpoint, plan: RunPlan) -> None:
    from prefect import flow
    from prefect.settings import PREFECT_HOME

    from tasks.dead_man import ping_dead_man
    from tasks.notify import deliver_pending, tell

    @flow(name="night")
    def night(plan: RunPlan) -> str:
        assert tell(plan, [NOTICE], return_state=True).is_completed()
        assert ping_dead_man(plan, return_state=True).is_completed()
        return "promoted"

    state = night(plan, return_state=True)
    assert state.is_completed()
    assert state.result() == "promoted"
    assert endpoint.requests == []
    folders = (plan.home, PREFECT_HOME.value())
    kept = {path: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}
    database = [content for path, content in kept.items() if path.name.startswith("prefect.db")]  # and its log
    assert any(b"me@there.test" in content for content in database), "parameters are kept"
    assert [path for path, content in kept.items() for secret in SECRETS if secret.encode() in content] == []

    assert deliver_pending(plan.home, plan.config.notifications).sent == 0, "it pauses"


@pytest.mark.usefixtures("prefect")
def test_one_night_watch_at_a_time_looks_and_one_that_was_killed_keeps_no_other_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The killed one is a process that holds the lock and can do nothing any more, as with SIGKILL."""
    from flows.serving.night_watch import LOCK, night_watch

    monkeypatch.setenv("CRPBOT_HOME", str(tmp_path))
    holds = "import fcntl, sys; lock = open(sys.argv[1], 'ab'); fcntl.flock(lock, fcntl.LOCK_EX); print(flush=True); input()"
    command = [sys.executable, "-c", holds, str(tmp_path / LOCK)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline(), "it holds the lock"
        beside = night_watch(return_state=True)
        other.kill()
    after = night_watch(return_state=True)
    assert beside.is_cancelled(), beside
    assert str(tmp_path) in str(beside.message)
    assert after.is_completed(), after
