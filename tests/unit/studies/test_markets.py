"""The market study through the real chain: a small one here, a middle one in the long run.

The small one is one symbol on short markets with few epochs, so that it costs seconds; its claims are the same.
"""

import json

import pytest

from studies.markets import main

SMALL = [
    *("--symbols", "BTC-USD", "--days", "14", "--processes", "1"),
    *("--set", "splits.train_share=0.4", "--set", "splits.validation_share=0.1", "--set", "training.max_epochs=2"),
]
"""About 9,300 test rows: 38 blocks, so that intervals are measured."""


def study(tmp_path, *arguments):
    """Exit status and record of one study."""
    out = tmp_path / "study.json"
    status = main([*arguments, "--out", str(out)])
    return status, json.loads(out.read_text())


@pytest.mark.long
def test_small_study_on_the_iid_market_keeps_its_claims(tmp_path, capsys):
    status, record = study(tmp_path, "--market", "iid", "--seeds", "2", *SMALL)
    assert status == 0
    assert [run["seed"] for run in record["runs"]] == [1, 2]
    assert all(run["metrics"]["lift_interval"] is not None for run in record["runs"])
    printed = capsys.readouterr().out
    assert "kept    lift above 0" in printed
    assert "seed 2: BTC-USD" in printed


@pytest.mark.long
def test_small_study_promotes_no_forward_return_model_on_the_null_market(tmp_path):
    status, record = study(tmp_path, "--market", "null", "--label", "forward_return", "--seeds", "2", *SMALL)
    assert status == 0
    assert {run["outcome"] for run in record["runs"]} == {"held"}
    assert all("accuracy" in run["reason"] for run in record["runs"])


def test_small_study_finds_the_planted_component_and_says_that_it_falls_short_of_the_best(tmp_path, capsys):
    """7,000 training rows and two epochs find most of it: far above chance, and below the 98 % that is claimed."""
    status, record = study(tmp_path, "--market", "planted", "--label", "forward_return", "--seeds", "1", *SMALL)
    (run,) = record["runs"]
    figures = run["metrics"]
    assert figures["lift_interval"][0] > 0.05
    assert figures["directional_accuracy_interval"][0] > 0.6
    assert run["best_realised_accuracy"] == pytest.approx(figures["best_possible_accuracy"], abs=0.03)
    assert figures["accuracy"] < run["best_realised_accuracy"]
    assert status == 1
    assert "BROKEN  BTC-USD: accuracy at least 98%" in capsys.readouterr().out


@pytest.mark.long
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize(
    ("market", "label", "seeds"),
    [
        ("iid", "trend", 2),
        ("null", "trend", 2),
        ("null", "forward_return", 1),
        ("iid", "forward_return", 1),
        ("planted", "trend", 1),
    ],
)
def test_middle_study_keeps_every_claim(tmp_path, market, label, seeds):
    """Markets of full length, three symbols, the default recipe; the full study is the same with 20 seeds.

    `planted` with `forward_return` is not among them: it does not reach 98 % (README, Honesty), and says so.
    """
    status, record = study(tmp_path, "--market", market, "--label", label, "--seeds", str(seeds), "--processes", "1")
    assert status == 0, record["claims"]
