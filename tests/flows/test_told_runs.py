"""The steps that tell people, as Prefect runs them: what fails there changes nothing, and Prefect learns no secret."""

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
