"""Four models as pages meet them: good, held, broken, unmeasured."""

import dataclasses
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from models_lib.calibration import SweepRow, TemperatureSweep
from models_lib.config import EvaluationSection, GatesSection
from models_lib.evaluation.metrics import ReliabilityBins
from models_lib.reports.inputs import (
    CandleCheck,
    DataWindow,
    Drift,
    FeatureShift,
    Fetched,
    Figure,
    Figures,
    GateRow,
    Hole,
    Intervals,
    Part,
    ReportInputs,
    Temperature,
)
from models_lib.reports.writer import render_report
from models_lib.training.history import EpochRecord, TrainingHistory

START = datetime(2026, 9, 1, tzinfo=UTC)
NO_DIRECTION = "calibrated volatility; no directional skill shown"
NO_EDGE = "no edge after costs measured"


def gate(name, value, limit, *, severity="blocking", passed=True, split="test", note=""):
    return GateRow(name=name, split=split, value=value, limit=limit, severity=severity, passed=passed, note=note)


def predictions(rows=10_400, seed=3, sharpness=1.0):
    """Logits, their probabilities, and classes drawn from them: calibrated where the sharpness is 1."""
    random = np.random.default_rng(seed)
    known = np.clip(random.standard_t(4, rows) * 1.6, -5.5, 5.5)
    logits = np.stack([-known * 1.4, 1.0 - 0.55 * np.abs(known), known * 1.4], axis=1)
    honest = np.exp(logits - logits.max(axis=1, keepdims=True))
    honest /= honest.sum(axis=1, keepdims=True)
    classes = (random.random((rows, 1)) > honest.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    logits = logits * sharpness
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return logits.astype(np.float32), probabilities.astype(np.float32), classes


def confusion_of(probabilities, classes):
    table = np.bincount(classes * 3 + probabilities.argmax(axis=1), minlength=9)
    return table.reshape(3, 3).astype(np.int64)


def reliability_of(probabilities, classes, bins=15):
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == classes
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    counts = np.bincount(place, minlength=bins)
    divisor = np.maximum(counts, 1)
    return ReliabilityBins(
        edges=np.linspace(0, 1, bins + 1),
        counts=counts,
        confidence=np.bincount(place, confidence, minlength=bins) / divisor,
        accuracy=np.bincount(place, right, minlength=bins) / divisor,
    )


def data_window():
    days = 50
    minute = timedelta(minutes=1)
    end = START + timedelta(days=days) - minute
    cut = [START + timedelta(days=days * share) for share in (0.70, 0.85)]
    holes = tuple(
        Hole(start=START + timedelta(hours=5 + 31 * i), end=START + timedelta(hours=5 + 31 * i, minutes=m), minutes=m)
        for i, m in enumerate([7, 12, 9, 1_700, 45, 8, 6, 19, 240, 11, 7, 33])
    )
    missing = sum(hole.minutes for hole in holes)
    return DataWindow(
        first=START,
        last=end,
        rows=72_000 - missing,
        expected_minutes=72_000,
        missing_minutes=missing,
        filled_minutes=41,
        holes=holes,
        parts=(
            Part(name="train", first=START + timedelta(days=1), last=cut[0] - 15 * minute, rows=47_880),
            Part(name="validation", first=cut[0] + 60 * minute, last=cut[1] - 15 * minute, rows=10_496),
            Part(name="test", first=cut[1] + 60 * minute, last=end - 15 * minute, rows=10_400),
        ),
        purge_minutes=15,
        embargo_minutes=60,
        warnings=(
            "BTC-USD: 311 minutes without volume in one run (240 are expected at most), from 2026-09-14 02:10 UTC.",
        ),
    )


def fetched():
    """As Coinbase's candles of a night with one alarm."""
    return Fetched(
        exchange="coinbase",
        market="BTC/USD",
        volume_unit="BTC",
        corrections=3,
        skew_ms=-41.4,
        holes_by_cause={"no trades": {"holes": 13, "minutes": 198}, "outage": {"holes": 2, "minutes": 1_940}},
        checks=(
            CandleCheck(
                name="median_deviation", value=None, limit=10.0, alarm=False, words="closes: not measured, nobody asked"
            ),
            CandleCheck(name="jump", value=1_200.0, limit=1_000.0, alarm=True, words="100 to 112 at 2026-01-01T09:01Z"),
        ),
    )


def drift():
    shifts = [FeatureShift(name=f"feature_{i:02d}", psi=0.36 / 2**i, limit=0.25) for i in range(72)]
    return Drift(past_weeks=6, features=tuple(shifts))


def temperature():
    lines = []
    for value in (0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0):
        confidence = 1 / 3 + (2 / 3) / (1 + 0.7 * value)
        off = abs(confidence - 0.725)
        lines.append(
            SweepRow(
                temperature=value,
                mean_confidence=confidence,
                share_over_90=max(0.0, confidence - 0.5),
                share_over_99=max(0.0, confidence - 0.66),
                ece=0.012 + off,
                nll=0.588 + 2 * off**2,
            )
        )
    return Temperature(
        fitted=0.947,
        learned=2.31,
        sweep=TemperatureSweep(tuple(lines), 1.0, "It has the lowest NLL of those in the band."),
        target_low=0.60,
        target_high=0.75,
        ece_limit=0.05,
    )


def history(*, epochs=8, best=4, stop="patience", failed=()):
    records = tuple(
        EpochRecord(
            epoch=i + 1,
            train_loss=0.78 - 0.03 * i,
            validation_nll=0.64 - 0.02 * min(i, best - 1) + 0.004 * max(0, i - best + 1),
            validation_accuracy=0.715 + 0.008 * min(i, best - 1),
            temperature=0.95,
            temperature_at_bound=False,
            learned_temperature=2.3,
            largest_logit=8.4,
            learning_rate=1e-3,
            gradient_norm=0.4,
            failed_gates=failed,
            gates=(),
            seconds=5.1,
        )
        for i in range(epochs)
    )
    return TrainingHistory(epochs=records, best_epoch=best, stop=stop, stopped_by=failed, device="cpu")


def good_figures():
    return Figures(
        accuracy=0.741,
        nll=0.588,
        ece=0.017,
        mean_confidence=0.731,
        share_over_90=0.229,
        share_over_99=0.068,
        share_50_90=0.731,
        max_abs_logit=8.42,
        class_shares=(0.343, 0.309, 0.348),
        majority_accuracy=0.351,
        mechanical_rule_accuracy=0.736,
        mechanical_rule_nll=0.622,
        driftless_rule_nll=0.585,
        lift=Figure(value=0.005, interval=(-0.003, 0.012)),
        nll_improvement=Figure(value=0.034, interval=(0.021, 0.047)),
        driftless_improvement=Figure(value=-0.003, interval=(-0.009, 0.004)),
        directional_accuracy=Figure(value=0.503, interval=(0.478, 0.528)),
        edge_bp=Figure(value=0.4, interval=(-1.9, 2.7)),
        edge_after_costs_bp=Figure(value=-9.8, interval=(-11.0, -8.6)),
        effective_rows=1_840.0,
        driftless_rule_accuracy=0.742,
    )


def good_gates():
    return (
        gate("scaler_present", 0.0021, 0.0, split="saved_file"),
        gate(
            "feature_normalisation",
            0.0004,
            0.1,
            split="train",
            note="worst: log_volume_z_60; on validation 0.31 (advisory)",
        ),
        gate("logit_range", 8.42, 15.0),
        gate("overconfidence", 0.068, 0.10),
        gate("class_balance", (0.309, 0.348), (0.15, 0.60)),
        gate("finite", 0.0, 0.0),
        gate("calibration_error", 0.017, 0.05),
        gate("accuracy", 0.741, 0.68),
        gate("beats_mechanical_rule", 0.021, 0.0, note="lower end of the interval; lift +0.005, at least -0.010"),
        gate("beats_driftless_rule", -0.009, 0.0, severity="advisory", passed=False, note="lower end of the interval"),
        gate("confidence_band", (0.731, 0.731), (0.60, 0.85), severity="advisory"),
        gate("edge_after_costs", -9.8, 0.0, severity="advisory", passed=False),
        gate("feature_drift", 0.19, 0.25, severity="advisory"),
    )


def good_report():
    logits, probabilities, classes = predictions()
    return ReportInputs(
        symbol="BTC-USD",
        run_id="20261121T020000Z-4f1c",
        written_at=datetime(2026, 11, 21, 2, 4, tzinfo=UTC),
        outcome="promoted",
        reason="First champion of this symbol.",
        verdict_words=(NO_DIRECTION, NO_EDGE),
        data_origin="parquet candles/perp-50d",
        simulated_market=None,
        label="trend(60, 15)",
        label_meaning="UP means: the mean price of the next 15 minutes lies above the mean of the last 60 by more than 5.1 bp.",
        gates=good_gates(),
        gates_section=GatesSection(),
        evaluation_section=EvaluationSection(),
        figures=good_figures(),
        intervals=Intervals(blocks=43, min_blocks=30, block_bars=240, samples=2_000, seed=1),
        history=history(),
        gate_stop_epochs=3,
        confusion=confusion_of(probabilities, classes),
        reliability=reliability_of(probabilities, classes),
        probabilities=probabilities,
        logits=logits,
        temperature=temperature(),
        data=dataclasses.replace(data_window(), fetched=fetched()),
        drift=drift(),
        seconds={"fetch": 0.31, "features": 1.2, "labels": 0.2, "train": 41.7, "temperature": 0.5, "gates": 6.1},
        bundle_hash="9b1f" * 16,
        data_hash="77ac" * 16,
        champion=None,
        provenance={
            "seed": "20251116",
            "commit": "5e81563 (clean)",
            "torch": "2.13.0",
            "numpy": "2.4.1",
            "host": "trainer-1",
        },
    )


def held_report():
    """Trained on forward_return: calibrated, and no better than chance."""
    logits, probabilities, classes = predictions(sharpness=0.25, seed=8)
    gates = tuple(
        dataclasses.replace(row, value=0.412, passed=False)
        if row.name == "accuracy"
        else dataclasses.replace(row, value=-0.004, passed=False)
        if row.name == "beats_mechanical_rule"
        else dataclasses.replace(row, value=(0.44, 0.44), passed=False)
        if row.name == "confidence_band"
        else row
        for row in good_gates()
    )
    figures = dataclasses.replace(
        good_figures(),
        accuracy=0.412,
        nll=1.071,
        mechanical_rule_accuracy=0.405,
        mechanical_rule_nll=1.073,
        driftless_rule_nll=1.069,
        driftless_rule_accuracy=0.41,
        mean_confidence=0.44,
        lift=Figure(value=0.007, interval=(-0.006, 0.021)),
        nll_improvement=Figure(value=0.002, interval=(-0.004, 0.009)),
    )
    return dataclasses.replace(
        good_report(),
        symbol="ETH-USD",
        outcome="held",
        reason="accuracy 41.2 % is below 68.0 %; beats_mechanical_rule: the interval holds zero.",
        label="forward_return(15)",
        label_meaning="UP means: the price in 15 minutes lies above the current close by more than 6.0 bp.",
        gates=gates,
        figures=figures,
        logits=logits,
        probabilities=probabilities,
        confusion=confusion_of(probabilities, classes),
        reliability=reliability_of(probabilities, classes),
        champion="c0de" * 16,
    )


def broken_report():
    """V6: raw prices in, everything DOWN with full confidence, and holes over most of the window."""
    random = np.random.default_rng(5)
    logits = np.stack(
        [random.normal(33_503, 6_000, 10_400), random.normal(2_000, 900, 10_400), random.normal(-9_475, 2_000, 10_400)],
        1,
    ).astype(np.float32)
    probabilities = np.zeros_like(logits)
    probabilities[:, 0] = 1.0
    classes = predictions()[2]
    window = data_window()
    holes = tuple(
        Hole(start=START + timedelta(minutes=11 * i), end=START + timedelta(minutes=11 * i + 6), minutes=6)
        for i in range(5_000)
    )
    broken = {
        "scaler_present": (None, "the file holds no scaler"),
        "feature_normalisation": (79_568.14, "worst: close"),
        "logit_range": (52_011.0, ""),
        "overconfidence": (0.998, ""),
        "class_balance": ((0.0, 1.0), "UP is never predicted"),
        "calibration_error": (0.649, ""),
        "accuracy": (0.351, ""),
        "beats_mechanical_rule": (None, "the NLL is not finite"),
    }
    gates = tuple(
        dataclasses.replace(row, value=broken[row.name][0], note=broken[row.name][1], passed=False)
        if row.name in broken
        else row
        for row in good_gates()
    )
    figures = dataclasses.replace(
        good_figures(),
        accuracy=0.351,
        nll=float("inf"),
        ece=0.649,
        mean_confidence=1.0,
        share_over_90=1.0,
        share_over_99=0.998,
        share_50_90=0.0,
        max_abs_logit=52_011.0,
        class_shares=(1.0, 0.0, 0.0),
        lift=Figure(value=-0.385, interval=(-0.41, -0.36)),
        nll_improvement=Figure(value=float("-inf"), interval=None),
        driftless_improvement=Figure(value=float("nan"), interval=None),
    )
    return dataclasses.replace(
        good_report(),
        symbol="SOL-USD",
        outcome="held",
        reason="scaler_present, feature_normalisation, logit_range and 5 more failed.",
        gates=gates,
        figures=figures,
        logits=logits,
        probabilities=probabilities,
        confusion=confusion_of(probabilities, classes),
        reliability=reliability_of(probabilities, classes),
        data=dataclasses.replace(window, holes=holes, missing_minutes=30_000, rows=42_000),
        history=history(epochs=3, best=3, stop="gates", failed=("logit_range", "overconfidence")),
        simulated_market="null",
        data_origin="simulated market, seed 7, 50 days",
    )


def unmeasured_report():
    """A test part too short for intervals: nothing is claimed that was not measured."""
    figures = dataclasses.replace(
        good_figures(),
        nll_improvement=Figure(value=0.034),
        lift=Figure(value=0.005),
        driftless_improvement=Figure(),
        driftless_rule_nll=None,
        driftless_rule_accuracy=None,
        directional_accuracy=Figure(),
        edge_bp=Figure(),
        edge_after_costs_bp=Figure(),
        effective_rows=None,
        class_shares=None,
        ece=None,
    )
    unmeasured = ("beats_mechanical_rule", "beats_driftless_rule", "edge_after_costs", "calibration_error")
    gates = tuple(
        dataclasses.replace(row, value=None, passed=False, note="") if row.name in unmeasured else row
        for row in good_gates()
    )
    return dataclasses.replace(
        good_report(),
        outcome="held",
        reason="beats_mechanical_rule could not be measured.",
        gates=gates,
        figures=figures,
        intervals=Intervals(blocks=12, min_blocks=30, block_bars=240, samples=2_000, seed=1),
        confusion=None,
        reliability=None,
        logits=np.full((10, 3), np.nan, dtype=np.float32),
        data=data_window(),
        drift=None,
        seconds={},
    )


SAMPLES = {
    "good": good_report,
    "held": held_report,
    "broken": broken_report,
    "unmeasured": unmeasured_report,
}


@pytest.fixture(scope="session")
def samples():
    return {name: build() for name, build in SAMPLES.items()}


@pytest.fixture(scope="session")
def pages(samples):
    return {name: render_report(report) for name, report in samples.items()}
