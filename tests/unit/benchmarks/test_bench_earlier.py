"""Two measurements side by side, made by hand."""

import json

import pytest

from tests.benchmarks import earlier
from tests.benchmarks.__main__ import main

MACHINE = {"processor": "one", "cores": 2}


def measured(train=40.0, label=0.04, **more):
    """As `make bench` writes it: a run of one symbol."""
    symbol = {"outcome": "promoted", "epochs": 6, "seconds": {"train": train, "labels": label}}
    found = {"run": {"wall_seconds": 70.0, "peak_mb": 900.0, "symbols": {"BTC-USD": symbol}}, **more}
    return {"measured_at": "2026-01-01T00:00Z", "machine": MACHINE, "tiny": False, "candles": "real", "measured": found}


def test_figures_are_the_seconds_and_megabytes_and_nothing_else():
    archive = {"ratio": 1.2, "rows": 5, "seconds": {"plain": {"wall": 0.1}}, "peak_mb": {"plain": 190.0}}
    assert dict(earlier.figures(measured(archive=archive)["measured"])) == {
        "run / wall_seconds": 70.0,
        "run / peak_mb": 900.0,
        "run / symbols / BTC-USD / seconds / train": 40.0,
        "run / symbols / BTC-USD / seconds / labels": 0.04,
        "archive / seconds / plain / wall": 0.1,
        "archive / peak_mb / plain": 190.0,
    }


@pytest.mark.parametrize(
    ("now", "pointed_out"),
    [
        ({"train": 50.0}, ["run / symbols / BTC-USD / seconds / train"]),
        ({"train": 49.9}, []),
        ({"train": 10.0}, []),
        ({"label": 0.12}, []),  # three times as much, and nobody waits for it
    ],
)
def test_a_step_is_pointed_out_from_a_quarter_more_on(now, pointed_out):
    found = earlier.changes(measured()["measured"], measured(**now)["measured"])
    assert [change.name for change in found if change.is_more] == pointed_out


def test_what_only_one_of_them_measured_is_left_out():
    then, now = measured(archive={"wall_seconds": 1.0}), measured(training={"wall_seconds": 1.0})
    assert {change.name.partition(" ")[0] for change in earlier.changes(then["measured"], now["measured"])} == {"run"}


def test_told_are_ratio_both_figures_and_what_was_different(capsys):
    earlier.tell(measured(), measured(train=60.0) | {"candles": "simulated"})
    said = capsys.readouterr().out
    assert "1.50x      40.000 ->     60.000  run / symbols / BTC-USD / seconds / train  MORE THAN BEFORE" in said
    assert "another candles then (real, now simulated): the ratios say little" in said
    assert "machine" not in said
    assert "1 of 4 at least 1.25x as much as then" in said


@pytest.mark.parametrize("text", ["[]", "{}", '{"measured": {}}', "no JSON"])
def test_another_file_is_refused_before_anything_is_measured(tmp_path, capsys, text):
    (tmp_path / "old.json").write_text(text)
    with pytest.raises(SystemExit, match="2"):
        main(["--against", str(tmp_path / "old.json")])
    assert "old.json" in capsys.readouterr().err


def test_what_was_written_is_read_again(tmp_path):
    (tmp_path / "old.json").write_text(json.dumps(measured()))
    assert earlier.read(tmp_path / "old.json") == measured()


def test_json_that_cannot_be_written_is_refused_before_anything_is_measured(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--json", str(tmp_path / "nowhere/now.json")])
    assert "nowhere/now.json" in capsys.readouterr().err
