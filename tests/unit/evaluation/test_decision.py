"""Who wins of three models: every case of the rule, with its reason in words and numbers."""

from collections.abc import Sequence

import pytest

from models_lib.evaluation.bootstrap import Interval
from models_lib.evaluation.comparison import PairedDifference, PairedFigures, RowSetResult
from models_lib.evaluation.decision import PAIRS, Decision, ModelName, decide
from models_lib.evaluation.gates import GateResult

TITLES: dict[ModelName, str] = {"repaired": "the repaired V6", "v8": "V8", "ensemble": "the ensemble"}
ACCURACY = GateResult("accuracy", "test", 0.412, 0.68, "blocking", passed=False)
BALANCE = GateResult("class_balance", "test", (0.02, 0.61), (0.15, 0.6), "blocking", passed=False)
UNMEASURED = GateResult("finite", "test", None, 0.0, "blocking", passed=False)
BETTER, UNCLEAR, WORSE = (0.004, 0.001, 0.007), (0.002, -0.001, 0.005), (-0.004, -0.007, -0.001)


def on_test_part(v8: Sequence[float], repaired: Sequence[float]) -> RowSetResult:
    """NLL of V8 and of the repaired one minus the ensemble's: value, and interval where there is one."""
    gains = {("v8", "ensemble"): v8, ("repaired", "ensemble"): repaired, ("repaired", "v8"): BETTER}

    def difference(figures: Sequence[float]) -> PairedDifference:
        interval = Interval(figures[1], figures[2], 43, 900.0) if len(figures) == 3 else None
        return PairedDifference(figures[0], interval)

    return RowSetResult(
        name="test",
        meaning="the whole test part",
        rows=10_440,
        block_bars=240,
        blocks=43,
        blocks_with_rows=43,
        figures={},
        differences=tuple(
            PairedFigures(first=a, second=b, nll=difference(gains[a, b]), accuracy=difference(UNCLEAR))
            for a, b in PAIRS
        ),
    )


def decided(
    *,
    repaired: Sequence[GateResult] = (),
    v8: Sequence[GateResult] = (),
    ensemble: Sequence[GateResult] = (),
    gains: tuple[Sequence[float], Sequence[float]] = (BETTER, BETTER),
    sole: ModelName | None = None,
) -> Decision:
    failed: dict[ModelName, Sequence[GateResult]] = {"repaired": repaired, "v8": v8, "ensemble": ensemble}
    return decide(failed, on_test_part(*gains), titles=TITLES, sole=sole)


def test_repaired_one_wins_where_it_alone_passes() -> None:
    found = decided(v8=[ACCURACY])
    assert found.winner == "repaired"
    assert found.reason.startswith(
        "The repaired V6 passes every blocking gate; V8 fails accuracy (0.412, limit 0.68). An ensemble is only chosen"
    )


def test_v8_wins_where_it_alone_passes_however_good_the_ensemble() -> None:
    found = decided(repaired=[ACCURACY, BALANCE, UNMEASURED])
    assert found.winner == "v8"
    assert (
        "the repaired V6 fails accuracy (0.412, limit 0.68), class_balance (0.02 to 0.61, limit 0.15 to 0.6) "
        "and finite (not measured)." in found.reason
    )


def test_ensemble_wins_where_it_is_shown_to_be_better_than_both() -> None:
    found = decided()
    assert found.winner == "ensemble"
    assert found.reason == (
        "The repaired V6 and V8 both pass every blocking gate, and on 10,440 test rows the ensemble's NLL is lower "
        "than that of V8 by +0.0040 (95 % interval +0.0010 to +0.0070) "
        "and than that of the repaired V6 by +0.0040 (95 % interval +0.0010 to +0.0070)."
    )


@pytest.mark.parametrize(
    ("gains", "words"),
    [
        ((UNCLEAR, BETTER), "that of V8 minus its own is +0.0020 (95 % interval -0.0010 to +0.0050)."),
        ((BETTER, UNCLEAR), "that of the repaired V6 minus its own is +0.0020 (95 % interval -0.0010 to +0.0050)."),
        ((WORSE, WORSE), "V8 minus its own is -0.0040 (95 % interval -0.0070 to -0.0010) and that of the repaired V6"),
        (((0.004,), BETTER), "that of V8 minus its own is +0.0040 without an interval (too few blocks)."),
        (((1e-9, 5e-10, 2e-9), BETTER), "that of V8 minus its own is +0.0000"),
    ],
)
def test_v8_wins_where_the_ensemble_is_not_shown_to_be_better(
    gains: tuple[Sequence[float], Sequence[float]], words: str
) -> None:
    found = decided(gains=gains)
    assert found.winner == "v8"
    assert "is not shown to be lower on 10,440 test rows: " in found.reason
    assert words in found.reason


def test_v8_wins_where_the_ensemble_fails_its_own_gates() -> None:
    found = decided(ensemble=[ACCURACY])
    assert found.winner == "v8"
    assert found.reason.endswith("but the ensemble fails accuracy (0.412, limit 0.68).")


def test_v8_wins_where_the_ensemble_is_one_member_alone() -> None:
    found = decided(sole="repaired")
    assert found.winner == "v8"
    assert found.reason.endswith("the ensemble gives all its weight to the repaired V6, so it is no third model.")


@pytest.mark.parametrize(
    ("ensemble", "words"),
    [([ACCURACY], "the ensemble fails accuracy (0.412, limit 0.68)."), ([], "the ensemble passes, but is only chosen")],
)
def test_none_wins_where_both_fail(ensemble: Sequence[GateResult], words: str) -> None:
    found = decided(repaired=[BALANCE], v8=[ACCURACY], ensemble=ensemble)
    assert found.winner is None
    assert found.reason.startswith("The repaired V6 fails class_balance (0.02 to 0.61, limit 0.15 to 0.6); V8 fails")
    assert words in found.reason


def test_logits_within_the_limit_by_a_clamp_are_told_with_its_share_and_not_as_beyond_it() -> None:
    clamped = GateResult(
        "logit_range",
        "test",
        11.18,
        15.0,
        "blocking",
        passed=False,
        note="clamped in 8.40% of the rows (at most 1.00%)",
    )
    reason = decided(repaired=(clamped,)).reason
    assert "logit_range (clamped in 8.40% of the rows (at most 1.00%))" in reason
    assert "11.18" not in reason
