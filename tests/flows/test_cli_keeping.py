"""status, hold, release-hold and clean through the front door."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli import main
from models_lib.holds import held
from tests.hosts import in_folder
from tests.old_homes import aged, entry, names, write_bundle, write_change, write_run, write_step

ROOT = Path(__file__).parents[2]
A, B = "a" * 64, "b" * 64
Heard = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("CRPBOT_HOME", str(folder))
    return folder


# status


def test_status_of_an_empty_home_has_a_row_for_each_default_symbol(home: Path, capsys: Heard) -> None:
    assert main(["status"]) == 0
    heard = capsys.readouterr()
    header, *rows = heard.out.splitlines()
    assert header.split("  ")[0] == "symbol"
    assert [row.split()[:2] for row in rows] == [[symbol, "none"] for symbol in ("BTC-USD", "ETH-USD", "SOL-USD")]
    assert heard.err == ""
    assert not home.exists()


def test_status_tells_what_needs_a_look(home: Path, capsys: Heard) -> None:
    write_change(home, "BTC-USD", A, 20)
    write_bundle(home, A, 20)
    write_run(home, 10, {"BTC-USD": entry("held", "accuracy", reason="held by accuracy", report="page.html")})
    main(["hold", "BTC-USD", "--reason", "odd prices"])
    capsys.readouterr()
    assert main(["status", "BTC-USD"]) == 0
    heard = capsys.readouterr()
    _, row, *remarks = heard.out.splitlines()
    assert row.split()[:2] == ["BTC-USD", A[:12]]
    assert row.endswith("unknown  held      2026-05-22 12:00  1 night  local: none  yes")
    assert remarks[0] == "BTC-USD: held by accuracy"
    assert remarks[1].startswith("BTC-USD: on hold since ")
    assert remarks[1].endswith(": odd prices")
    assert remarks[2].startswith(f"warning: BTC-USD: champion {A[:12]}: nobody can tell when it expires: ")
    assert heard.err == ""


def test_status_speaks_json_alone_on_stdout(home: Path, capsys: Heard) -> None:
    write_change(home, "DOGE-USD", A, 20)
    assert main(["status", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert list(document["symbols"]) == ["BTC-USD", "DOGE-USD", "ETH-USD", "SOL-USD"]
    assert document["symbols"]["DOGE-USD"]["champion"] == A
    assert document["home"] == str(home)
    assert main(["status", "DOGE-USD", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["symbols"]) == ["DOGE-USD"]


def test_status_with_damage_is_told_with_status_0(home: Path, capsys: Heard) -> None:
    write_change(home, "BTC-USD", A, 20)
    (home / "ledger.jsonl").write_bytes(b"{}\n")
    (home / "promoted" / "ETH-USD.json").write_bytes(b"{}\n")
    assert main(["status"]) == 0
    heard = capsys.readouterr()
    assert "ETH-USD: the pointer of ETH-USD is damaged" in heard.out
    assert heard.err.startswith("crpbot: the record of champions is damaged: ledger line 1")


def test_symbols_of_a_configuration_are_known(tmp_path: Path, capsys: Heard) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("symbols: [DOGE-USD]\n")
    for command in (["status", "DOGE-USD"], ["hold", "DOGE-USD", "--reason", "x"]):
        assert main(command) == 2
        assert "'DOGE-USD' is not a known symbol" in capsys.readouterr().err
        assert main([*command, "--config", str(path)]) == 0
    capsys.readouterr()
    assert main(["release-hold", "DOGE-USD"]) == 0  # what is on hold is known


def test_status_takes_less_than_a_second(home: Path) -> None:
    for days in range(1, 60):
        write_run(home, days, {f"S{number}-USD": entry("held", "accuracy") for number in range(10)})
    for number in range(10):
        write_change(home, f"S{number}-USD", A, 70)

    def seconds() -> float:
        """Of the processor, so that other processes of the machine do not count."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "flows.cli", "status", "--json"]
        subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(2)) < 1.0


# hold and release-hold


def test_hold_and_release_are_told_and_work_beside_a_damaged_ledger(home: Path, capsys: Heard) -> None:
    home.mkdir()
    (home / "ledger.jsonl").write_bytes(b"{}\n")
    assert main(["hold", "BTC-USD", "--reason", "odd prices"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("BTC-USD: on hold since ")
    assert told.endswith(": odd prices\n")
    assert main(["hold", "BTC-USD", "--reason", "another"]) == 0
    assert capsys.readouterr().out == told.replace(": on hold", ": already on hold")
    assert main(["release-hold", "BTC-USD"]) == 0
    assert capsys.readouterr().out == told.replace(": on hold", ": released; it was on hold")
    assert main(["release-hold", "BTC-USD"]) == 0
    assert capsys.readouterr().out == "BTC-USD: was not on hold\n"


@pytest.mark.parametrize(
    "command", [["hold", "BTC-EUR", "--reason", "x"], ["release-hold", "BTC-EUR"], ["status", "BTC-EUR"]]
)
def test_unknown_symbol_starts_nothing(command: list[str], home: Path, capsys: Heard) -> None:
    assert main(command) == 2
    heard = capsys.readouterr()
    assert heard.out == ""
    assert "'BTC-EUR' is not a known symbol" in heard.err
    assert not home.exists()


def test_hold_without_a_reason_is_refused(home: Path, capsys: Heard) -> None:
    assert main(["hold", "BTC-USD", "--reason", "  "]) == 2
    assert "the reason of a hold must be 1 to 500 characters of text" in capsys.readouterr().err
    assert held(home, "BTC-USD") is None


def test_promotion_of_a_held_symbol_is_refused_with_status_1(capsys: Heard) -> None:
    main(["hold", "BTC-USD", "--reason", "odd prices"])
    assert main(["promote", "BTC-USD", A]) == 1
    assert "`crpbot release-hold BTC-USD` ends the hold" in capsys.readouterr().err


def test_hold_that_cannot_be_written_is_told_with_status_1(monkeypatch: pytest.MonkeyPatch, capsys: Heard) -> None:
    monkeypatch.setenv("CRPBOT_HOME", "/proc/crpbot")
    assert main(["hold", "BTC-USD", "--reason", "x"]) == 1
    heard = capsys.readouterr()
    assert heard.out == ""
    (line,) = heard.err.splitlines()
    assert line.startswith("crpbot: /proc/crpbot: the hold cannot be written (")


# clean


def test_clean_tells_what_went_and_what_that_frees(home: Path, capsys: Heard) -> None:
    write_run(home, 400, {"BTC-USD": entry("held")})
    write_step(home, "features-x", 10)
    write_bundle(home, A, 400)
    write_bundle(home, B, 400)
    write_change(home, "BTC-USD", B, 300)
    assert main(["clean", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert told.splitlines()[-1].endswith(" would be freed: 1 run, 1 step result, 1 bundle")
    assert (home / "store" / "bundles" / A).exists()
    assert main(["clean"]) == 0
    heard = capsys.readouterr()
    header, *rows, last = heard.out.splitlines()
    assert header.split() == ["removed", "what", "size", "why"]
    assert [row.split("  ")[0].strip() for row in rows] == ["run", "step result", "bundle"]
    assert last == told.splitlines()[-1].replace("would be freed", "freed")
    assert heard.err == ""
    assert main(["clean"]) == 0
    assert capsys.readouterr().out == "0 B freed: nothing\n"


def test_clean_goes_by_the_configuration_and_by_older_than(home: Path, tmp_path: Path, capsys: Heard) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("retention: {runs_days: 3000}\n")
    run = write_run(home, 1, {"BTC-USD": entry("held")})
    assert main(["clean", "--config", str(path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [(item["kind"], item["path"]) for item in document["kept"]] == [("run", f"runs/{run.name}")]
    assert document["kept"][0]["why"].endswith(" days ago, kept for 3000")
    assert main(["clean", "--config", str(path), "--older-than", "1"]) == 0
    assert not run.exists()


def test_status_and_clean_ask_the_deployment_target(home: Path, tmp_path: Path, capsys: Heard) -> None:
    write_bundle(home, A, 400)
    link = tmp_path / "releases" / "current" / "BTC-USD"
    link.parent.mkdir(parents=True)
    link.symlink_to(Path("..") / "releases" / "BTC-USD" / A)
    target = [word for setting in in_folder(tmp_path / "releases") for word in ("--set", setting)]
    assert main(["status", "BTC-USD", *target]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith(f"folder: {A[:12]}, local: none  no")
    assert main(["clean", *target, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kept"][0]["why"] == "deployed"
    assert main(["clean", "--set", "retention.held_bundles_days=100", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["removed"][0]["path"] == f"store/bundles/{A}"


def test_clean_beside_a_damaged_ledger_is_status_1(home: Path, capsys: Heard) -> None:
    write_bundle(home, A, 400)
    write_step(home, "features-x", 10)
    (home / "ledger.jsonl").write_bytes(b"{}\n")
    assert main(["clean"]) == 1
    heard = capsys.readouterr()
    assert heard.err.startswith("crpbot: no bundle was removed: nobody can tell which bundles are needed")
    assert heard.err.count("\n") == 1
    assert heard.out.splitlines()[-1].endswith(" freed: 1 step result")
    assert (home / "store" / "bundles" / A).exists()


def test_clean_of_nothing_makes_no_home(home: Path, capsys: Heard) -> None:
    assert main(["clean"]) == 0
    assert capsys.readouterr().out == "0 B freed: nothing\n"
    assert not home.exists()


def test_old_empty_folder_of_the_store_is_no_leftover(home: Path, capsys: Heard) -> None:
    (home / "store" / "incoming").mkdir(parents=True)
    aged(home, 100)
    before = names(home)
    assert main(["clean"]) == 0
    assert capsys.readouterr().out == "0 B freed: nothing\n"
    assert names(home) == before
