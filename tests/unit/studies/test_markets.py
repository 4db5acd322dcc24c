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
    ("market", "label"),
    [
        ("iid", "trend"),
        ("null", "trend"),
        ("null", "forward_return"),
        ("iid", "forward_return"),
        ("planted", "trend"),
    ],
)
def test_middle_study_keeps_every_claim(tmp_path, capsys, market, label):
    """Markets of full length, three symbols, the default recipe; the full study is the same with 20 seeds.

    `planted` with `forward_return` is not among them: it does not reach 98 % (README, Honesty), and says so.
    """
    status, record = study(tmp_path, "--market", market, "--label", label, "--seeds", "1", "--processes", "1")
    assert status == 0, record["claims"]
    assert "kept    " in capsys.readouterr().out
