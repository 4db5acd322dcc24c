"""The page of the run folder: passed when it is stored, then what became of the candidate."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from models_lib.config import RunConfig
from models_lib.registry import open_registry
from models_lib.steps.judge import _stopped
from models_lib.steps.refs import PromotionRef, StoredRef
from models_lib.steps.report import finish_report, report_path
from tests.unit.steps.conftest import Judged, PreparedSymbol

NOW = datetime(2026, 1, 15, 3, tzinfo=UTC)
AFTER = "Promotion is decided after this page is written"


@pytest.fixture
def stored(btc: PreparedSymbol, judged: Judged) -> StoredRef:
    return judged.store(btc, now=NOW)


def finish(btc: PreparedSymbol, judged: Judged, stored: StoredRef, promotion: PromotionRef) -> None:
    seconds = {"train": 1.0, "promote": 2.0}
    finish_report(btc.plan, judged.stored(btc, stored), promotion=promotion, seconds=seconds, now=NOW)


def heading(path: Path) -> str:
    return path.read_text().partition("<h1>")[2].partition("</h1>")[0]


@pytest.mark.parametrize(
    ("promotion", "verdict", "told"),
    [
        (PromotionRef(outcome="promoted", reason=""), "PROMOTED", "Do not read a direction"),
        (PromotionRef(outcome="promoted", reason="already champion"), "PROMOTED", "Already champion."),
        (PromotionRef(outcome="held", reason="another champion <meanwhile>"), "HELD", "champion &lt;meanwhile&gt;"),
    ],
)
def test_page_of_the_run_ends_with_the_outcome_and_that_of_the_bundle_stays(
    btc: PreparedSymbol, judged: Judged, stored: StoredRef, promotion: PromotionRef, verdict: str, told: str
) -> None:
    inside = open_registry(btc.plan.home).store.bundle(stored.bundle) / "reports" / "report.html"
    assert stored.report == report_path(btc.plan, "BTC-USD")
    assert heading(stored.report) == heading(inside) == "BTC-USD <b>PASSED</b>"
    assert AFTER in stored.report.read_text()
    before = inside.read_bytes()

    finish(btc, judged, stored, promotion)
    page = stored.report.read_text()
    assert heading(stored.report) == f"BTC-USD <b>{verdict}</b>"
    assert told in page
    assert AFTER not in page
    assert stored.bundle in page
    assert inside.read_bytes() == before


def test_page_that_cannot_be_written_again_is_a_warning_and_the_earlier_one_stays(
    btc: PreparedSymbol, judged: Judged, stored: StoredRef, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    nowhere = stored.model_copy(update={"report": tmp_path / "file" / "report.html"})
    finish(btc, judged, nowhere, PromotionRef(outcome="promoted", reason=""))
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "the page keeps the state before the promotion (promoted)" in warning.getMessage()
    assert heading(stored.report) == "BTC-USD <b>PASSED</b>"


def test_candidate_whose_training_was_stopped_says_that_one_gate_or_another_failed_in_each_epoch() -> None:
    result = _stopped(RunConfig(), ("logit_range", "class_balance"))
    assert result.note == (
        "training stopped: a blocking gate failed in each of 3 consecutive epochs: logit_range, class_balance"
    )
    assert result.blocks
