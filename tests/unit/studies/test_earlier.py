"""The study that compares a training with an earlier one: its interval of the calibration error."""

import numpy as np

from models_lib.calibration import expected_calibration_error
from models_lib.config import EvaluationSection
from studies.earlier import Answers, calibration_interval, lines

SECTION = EvaluationSection(block_bars=20, bootstrap_samples=200)


def answers(seed: int, *, rows: int = 1_000, overstated: float = 0.0) -> Answers:
    """Confidences of 1/3 to 1 of which `overstated` is too much."""
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(1 / 3, 1.0, rows)
    correct = (rng.random(rows) < np.clip(confidence - overstated, 0.0, 1.0)).astype(np.float64)
    return Answers(nll=rng.random(rows), confidence=confidence, correct=correct, epochs=3, seconds=1.0)


def test_interval_is_that_of_blocks_written_out_row_by_row() -> None:
    """Reference: the rows of each resample taken one by one, and their error as `expected_calibration_error` has it."""
    earlier, shipped = answers(1), answers(2)
    rng = np.random.default_rng(SECTION.bootstrap_seed)
    apart = []
    for starts in rng.integers(0, 1_000 - 20 + 1, size=(200, 50)):
        rows = np.concatenate([np.arange(start, start + 20) for start in starts])
        errors = [
            expected_calibration_error(one.confidence[rows], one.correct[rows] > 0.0, bins=SECTION.ece_bins)
            for one in (earlier, shipped)
        ]
        apart.append(errors[1] - errors[0])
    assert np.allclose(
        calibration_interval([earlier], [shipped], SECTION), np.quantile(apart, [0.025, 0.975]), atol=1e-12
    )


def test_overstated_confidence_lies_above_0_and_the_same_training_at_0() -> None:
    earlier = answers(3)
    low, _ = calibration_interval([earlier], [answers(4, overstated=0.2)], SECTION)
    assert low > 0.0
    assert calibration_interval([earlier], [earlier], SECTION) == (0.0, 0.0)


def test_lines_say_earlier_shipped_and_the_change() -> None:
    accuracy, nll, ece, training = lines("BTC-USD", [answers(5), answers(6)], [answers(5), answers(6)], SECTION)
    assert accuracy.split()[1] == "accuracy"
    assert accuracy.endswith("+0.00000 to +0.00000")
    assert [nll.split()[1], ece.split()[1]] == ["nll", "ece"]
    assert "3.0 epochs, 3.0 epochs; 1,000 test rows, 2 seeds" in training
