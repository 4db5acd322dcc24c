"""The temperature study: which rows it takes, that it measures raw logits, and what it says."""

import hashlib
import json
import re
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models_lib.bundle import Bundle, add_run_facts, load_bundle
from models_lib.calibration import expected_calibration_error, negative_log_likelihood, softmax
from models_lib.candles.schema import epoch_ms
from models_lib.errors import ConfigError, DataError
from models_lib.features import compute_features
from models_lib.labels import label_classes, label_values
from models_lib.reports.temperature_study import TemperatureStudy, render_study
from models_lib.steps.temperature_study import MIN_UNSEEN_ROWS, parse_temperatures, study_temperature, write_study
from tests.bundles import T0, TEMPERATURE, example_facts, walk_candles, write_example

NOW = T0 + timedelta(days=5)
ROWS = 6_000
SPAN, CLEAR_FROM = 15, 4_900 + 15 + 60  # label's horizon; the row that lies span and look-back after the validation end


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundle `candidate` and the candles that it was made on, whose validation ends at row 4,900."""
    folder = tmp_path_factory.mktemp("study")
    write_example(folder / "candidate")
    walk_candles(ROWS).to_parquet(folder / "BTC-USD.parquet", index=False)
    return folder


def study(place: Path, **choices: object) -> TemperatureStudy:
    chosen: dict = {"values": (1.0, 2.0), "which": "unseen", "now": NOW, **choices}
    return study_temperature(place / "candidate", place, **chosen)


@pytest.fixture(scope="module")
def unseen(place: Path) -> TemperatureStudy:
    return study(place)


@pytest.fixture(scope="module")
def bundle(place: Path) -> Bundle:
    return load_bundle(place / "candidate")


def test_rows_after_the_validation_end_are_used_alone(unseen: TemperatureStudy) -> None:
    rows = unseen.rows
    assert rows.out_of_sample
    # The label of the last 15 rows is not known yet; the first row lies clear of the last validation label.
    assert rows.used == rows.after == ROWS - SPAN - (CLEAR_FROM + 1)
    assert rows.first == T0 + timedelta(minutes=CLEAR_FROM + 1)
    assert rows.last == T0 + timedelta(minutes=ROWS - SPAN - 1)
    assert rows.sentence().startswith(f"Measured on {rows.used:,} rows, 2026-01-04 ")
    assert f"so out of sample. {rows.before:,} rows before it were left out." in rows.sentence()


def test_all_rows_on_demand_are_said_to_be_seen(place: Path, unseen: TemperatureStudy, bundle: Bundle) -> None:
    everything = study(place, which="all").rows
    warm_up = bundle.manifest.features.warm_up_bars
    assert everything.used == ROWS - SPAN - warm_up
    assert (everything.before, everything.after) == (unseen.rows.before, unseen.rows.after)
    assert not everything.out_of_sample
    assert f"{everything.before:,} of them (" in everything.sentence()
    assert everything.sentence().endswith("so they are NOT out of sample.")


def test_too_few_unseen_rows_fall_back_to_all_and_say_so(place: Path, tmp_path: Path) -> None:
    rows = CLEAR_FROM + 1 + MIN_UNSEEN_ROWS - 1 + SPAN  # one unseen row too few
    walk_candles(ROWS).iloc[:rows].to_parquet(tmp_path / "BTC-USD.parquet", index=False)
    found = study_temperature(place / "candidate", tmp_path, values=(1.0,), which="unseen", now=NOW).rows
    assert (found.after, found.out_of_sample) == (MIN_UNSEEN_ROWS - 1, False)
    assert found.sentence().endswith("NOT out of sample. Only 499 lie after it (at least 500 would be used alone).")


def test_figures_are_those_of_the_raw_logits_and_the_bundles_own_label(
    unseen: TemperatureStudy, bundle: Bundle
) -> None:
    candles = walk_candles(ROWS)
    rows = slice(CLEAR_FROM + 1, ROWS - SPAN)
    features = compute_features(candles)[rows]
    label = bundle.manifest.label
    classes = label_classes(label_values(candles, label.section), label.section, label.threshold)[rows]
    # The bundle emits logits divided by its temperature: multiplied back they are the raw ones.
    raw_logits = bundle.logits(features).astype(np.float64) * TEMPERATURE
    assert [line.temperature for line in unseen.sweep.rows] == [1.0, 2.0]
    for line in (*unseen.sweep.rows, unseen.own, unseen.lowest):
        assert line.nll == pytest.approx(negative_log_likelihood(raw_logits, classes, line.temperature), abs=1e-6)
    assert unseen.own.temperature == TEMPERATURE


def test_untrained_network_ends_at_the_bound_of_the_fit_and_the_study_says_so(unseen: TemperatureStudy) -> None:
    assert unseen.fit.at_bound
    assert unseen.lowest.temperature == pytest.approx(20.0)  # 1 / T is searched down to 0.05
    assert unseen.lowest.nll < negative_log_likelihood(unseen.raw_logits, unseen.classes, 19.0)
    assert unseen.lowest.nll < min(line.nll for line in (unseen.own, *unseen.sweep.rows))
    assert unseen.sentences()[1].endswith("That is the end of the range that is searched: these logits say nothing.")


def test_table_marks_the_bundles_own_the_lowest_and_the_one_that_meets_the_target(unseen: TemperatureStudy) -> None:
    _, cells = unseen.table()
    assert [float(line[0]) for line in cells] == sorted(float(line[0]) for line in cells)
    remarks = {line[-1]: line[0] for line in cells if line[-1]}
    assert remarks["the bundle's own"] == f"{TEMPERATURE:g}"
    assert remarks["lowest NLL"] == f"{unseen.lowest.temperature:.4g}"
    assert ("meets the target" in "".join(remarks)) == (unseen.sweep.chosen is not None)


def test_target_is_named_or_missed_with_its_reason(place: Path, unseen: TemperatureStudy) -> None:
    sure = study(place, values=(1e-3,))  # every confidence is 1: far above the band
    assert sure.sweep.chosen is None
    assert sure.sentences()[0].startswith("No temperature meets the target: none of the 1 gives a mean confidence 0.60")
    assert unseen.sentences()[0] == unseen.sweep.reason


def test_default_values_are_those_of_the_sweep(place: Path) -> None:
    found = [line.temperature for line in study(place, values=None).sweep.rows]
    assert found == [0.3, 0.4, 0.5, 0.7, 1, 1.5, 2, 2.5, 3, 4, 5, 7, 10]


JUDGED_BY = {
    "gates": {"calibration_error": {"limit": 0.9}},
    "evaluation": {"ece_bins": 500},
    "temperature": {"target_low": 0.0, "target_high": 1.0},
}


def study_of_run(place: Path, tmp_path: Path, config: dict[str, Any], **choices: object) -> TemperatureStudy:
    """The study of the same bundle with the facts of a run of that configuration beside it."""
    folder = Path(shutil.copytree(place, tmp_path / "place"))
    facts = example_facts(load_bundle(folder / "candidate").hash)
    limit = config.get("gates", {}).get("calibration_error", {"limit": 0.05})
    gates = [gate.model_copy(update=limit) if gate.name == "calibration_error" else gate for gate in facts.gates]
    facts = facts.model_copy(update={"config": config, "gates": tuple(gates)})
    add_run_facts(folder / "candidate", facts=facts, reports={})
    return study(folder, **choices)


def test_limit_bins_and_target_are_those_of_the_bundles_own_run(
    place: Path, tmp_path: Path, unseen: TemperatureStudy
) -> None:
    found = study_of_run(place, tmp_path, JUDGED_BY)
    assert (found.ece_limit, found.bins) == (0.9, 500)
    assert found.sweep.chosen == 2.0, "every temperature meets that target, and the larger one has the lower NLL"
    target = found.to_json()["target"]
    assert (target["low"], target["high"], target["ece_limit"], target["ece_bins"]) == (0.0, 1.0, 0.9, 500)
    confidence = softmax(found.raw_logits, TEMPERATURE)
    correct = confidence.argmax(axis=1) == found.classes
    assert found.own.ece == expected_calibration_error(confidence.max(axis=1), correct, bins=500) != unseen.own.ece


@pytest.mark.parametrize("config", [{}, {"evaluation": {"of_another_version": 1, "ece_bins": 2}}])
def test_what_is_not_known_of_the_run_is_as_shipped(place: Path, tmp_path: Path, config: dict[str, Any]) -> None:
    found = study_of_run(place, tmp_path, config)
    assert (found.ece_limit, found.bins, found.section.target_high) == (0.05, 15, 0.75)


def test_page_stands_alone_and_the_bundle_is_as_it_was(place: Path, unseen: TemperatureStudy, tmp_path: Path) -> None:
    def content() -> dict[Path, str]:
        return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in place.rglob("*") if path.is_file()}

    before = content()
    table, page = write_study(study(place), tmp_path)
    assert content() == before
    assert json.loads(table.read_text()) == unseen.to_json()
    text = page.read_text()
    assert text == render_study(unseen)
    assert "default-src 'none'" in text
    assert re.findall(r"(?:src|href)=\"(?!#)[^\"]*\"|https?://(?!www\.w3\.org)", text) == []
    assert text.count("<svg ") == 1 + 2 * len(
        {unseen.own.temperature, unseen.lowest.temperature, unseen.sweep.chosen} - {None}
    )
    assert unseen.rows.sentence().split(":")[0] in text.replace("\N{NO-BREAK SPACE}", " ")


def test_candles_without_a_labelled_row_are_refused(place: Path, tmp_path: Path, bundle: Bundle) -> None:
    walk_candles(ROWS).iloc[: bundle.manifest.features.warm_up_bars + 15].to_parquet(
        tmp_path / "BTC-USD.parquet", index=False
    )
    with pytest.raises(DataError, match=r"none of 1,\d\d\d rows has features and a label \(at least 1 needed\)"):
        study_temperature(place / "candidate", tmp_path, values=None, which="unseen", now=NOW)


def test_first_unseen_row_lies_after_the_validation_end_of_the_manifest(bundle: Bundle) -> None:
    assert int(bundle.manifest.splits.validation.last.timestamp() * 1_000) == epoch_ms(walk_candles(ROWS))[4_900]


@pytest.mark.parametrize(("text", "values"), [("1", (1.0,)), ("2,0.5, 1,2.0", (0.5, 1.0, 2.0)), ("1e1", (10.0,))])
def test_temperatures_are_read_in_order_and_once(text: str, values: tuple[float, ...]) -> None:
    assert parse_temperatures(text) == values


@pytest.mark.parametrize("text", ["", ",", "0", "-1", "x", "nan", "inf", "1 2"])
def test_what_is_no_temperature_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="must be numbers above 0 with commas between them"):
        parse_temperatures(text)
