"""verify, promote, rollback, history and temperature through the front door, on true and on damaged bundles."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from flows.cli import main
from models_lib.registry import open_registry
from tests.bundles import edit_json, reseal, walk_candles
from tests.judged import judged, unjudged

Heard = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("CRPBOT_HOME", str(folder))
    return folder


def content(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below the folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def two_champions(tmp_path: Path) -> tuple[str, str]:
    """A, then B judged against it, promoted by the command line."""
    a = judged("A", tmp_path / "a")
    assert main(["promote", "BTC-USD", str(tmp_path / "a"), "--why", "the first"]) == 0
    b = judged("B", tmp_path / "b", champion=a)
    assert main(["promote", "BTC-USD", str(tmp_path / "b"), "--why", "better"]) == 0
    return a, b


# verify


def test_verify_tells_what_each_check_found(tmp_path: Path, capsys: Heard) -> None:
    bundle = judged("A", tmp_path / "a")
    assert main(["verify", str(tmp_path / "a")]) == 0
    heard = capsys.readouterr()
    lines = heard.out.splitlines()
    checks = [line.split("  ")[0].strip() for line in lines[1:]]
    assert checks == ["files", "hashes", "manifest", "features", "tensors", "engine", "golden", "run facts"]
    assert all(line.split("  ")[1:] and " ok " in line for line in lines[1:])
    assert f"bundle {bundle}" in lines[2]
    assert heard.err == ""


def test_verify_finds_a_kept_bundle_by_the_start_of_its_hash(two_champions: tuple[str, str], capsys: Heard) -> None:
    capsys.readouterr()
    assert main(["verify", two_champions[0][:10], "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["sound"] is True
    assert document["bundle"].endswith(two_champions[0])


def cut_short(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-1])


def forge_threshold(folder: Path) -> None:
    edit_json(folder / "manifest.json", lambda tree: tree["label"].update(threshold=-1.0))
    reseal(folder)


def swap_features(folder: Path) -> None:
    def swap(tree: dict) -> None:
        names = tree["features"]["names"]
        names[0], names[1] = names[1], names[0]

    edit_json(folder / "manifest.json", swap)
    reseal(folder)


DAMAGE = {
    "cut short": (cut_short, "hashes", "model.safetensors changed since the bundle was written"),
    "file missing": (lambda folder: (folder / "manifest.json").unlink(), "files", "manifest.json missing"),
    "foreign file": (lambda folder: (folder / "model.pkl").write_bytes(b"x"), "files", "is no file of a bundle"),
    "link": (lambda folder: (folder / "reports" / "x").symlink_to("/etc/passwd"), "files", "is a link"),
    "impossible label": (forge_threshold, "manifest", "manifest.json"),
    "order of features": (swap_features, "features", "the features stand in another order: number 0"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_bundle_is_refused_by_every_command(name: str, tmp_path: Path, home: Path, capsys: Heard) -> None:
    damage, check, told = DAMAGE[name]
    judged("A", tmp_path / "a")
    damage(tmp_path / "a")
    before = content(tmp_path / "a")

    assert main(["verify", str(tmp_path / "a"), "--json"]) == 1
    heard = capsys.readouterr()
    document = json.loads(heard.out)
    assert document["sound"] is False
    assert (document["findings"][-1]["check"], document["findings"][-1]["level"]) == (check, "error")
    assert told in document["findings"][-1]["message"]
    assert heard.err.startswith("crpbot: do not use this bundle: ")
    assert told in heard.err

    assert main(["promote", "BTC-USD", str(tmp_path / "a")]) == 2
    heard = capsys.readouterr()
    assert heard.out == ""
    assert told in heard.err
    assert main(["temperature", str(tmp_path / "a"), "--candles", str(tmp_path)]) == 2
    assert told in capsys.readouterr().err

    assert content(tmp_path / "a") == before
    assert not (home / "ledger.jsonl").exists()
    assert not (home / "store" / "bundles").exists()


@pytest.mark.parametrize("reference", ["/no/such/bundle", "0123456789abcdef", "short", ""])
@pytest.mark.parametrize(
    "command", [["verify"], ["promote", "BTC-USD"], ["temperature", "--candles", "/tmp"]], ids=" ".join
)
def test_bundle_that_is_nowhere_starts_nothing(command: list[str], reference: str, capsys: Heard) -> None:
    assert main([*command, reference]) == 2
    heard = capsys.readouterr()
    assert heard.out == ""
    assert f"{reference!r} is neither a bundle folder nor the start of one kept hash" in heard.err


# promote, rollback, history


def test_promote_and_rollback_are_told_and_recorded(two_champions: tuple[str, str], home: Path, capsys: Heard) -> None:
    a, b = two_champions
    assert main(["rollback", "BTC-USD", "--why", "it was not"]) == 0
    assert capsys.readouterr().out == (
        f"BTC-USD: {b[:12]} taken back, {a[:12]} again\n"
        "A deployment target keeps the release that it runs: `crpbot status` says where it differs from the champion.\n"
        "The next nightly run may promote a new model: `crpbot hold BTC-USD --reason TEXT` stops that.\n"
    )
    champion = open_registry(home).champion("BTC-USD")
    assert champion is not None
    assert champion.bundle == a

    assert main(["history"]) == 0
    heard = capsys.readouterr()
    *entries, count = heard.out.splitlines()
    assert count == "3 changes"
    assert [line.split()[1:3] for line in entries] == [
        ["BTC-USD", "promote"],
        ["BTC-USD", "promote"],
        ["BTC-USD", "rollback"],
    ]
    assert entries[0].endswith(": the first")
    assert f"{b[:12]} -> {a[:12]}" in entries[2]
    assert entries[2].endswith(": it was not")
    assert heard.err == ""

    assert main(["history", "BTC-USD", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["sound"] is True
    assert [entry["to"] for entry in document["entries"]] == [a, b, a]
    assert main(["history", "ETH-USD"]) == 0
    assert capsys.readouterr().out == "0 changes of ETH-USD\n"


def test_promoting_the_champion_again_changes_nothing(
    two_champions: tuple[str, str], home: Path, capsys: Heard
) -> None:
    before = content(home)
    capsys.readouterr()
    assert main(["promote", "BTC-USD", two_champions[1]]) == 0
    assert capsys.readouterr().out == f"BTC-USD: {two_champions[1][:12]} already champion\n"
    assert {name: digest for name, digest in content(home).items() if name != "registry.lock"} == {
        name: digest for name, digest in before.items() if name != "registry.lock"
    }


def test_promotion_is_told_in_one_line(tmp_path: Path, capsys: Heard) -> None:
    bundle = judged("A", tmp_path / "a")
    assert main(["promote", "BTC-USD", str(tmp_path / "a")]) == 0
    assert capsys.readouterr() == (f"BTC-USD: {bundle[:12]} promoted\n", "")


def test_bundle_with_a_failed_blocking_gate_is_refused(tmp_path: Path, home: Path, capsys: Heard) -> None:
    judged("A", tmp_path / "a", failed={"accuracy": "blocking", "finite": "blocking"})
    assert main(["promote", "BTC-USD", str(tmp_path / "a")]) == 1
    heard = capsys.readouterr()
    assert heard.out == ""
    assert "failed finite, accuracy in run run-1 and is never promoted" in heard.err
    assert not (home / "ledger.jsonl").exists()


def test_bundle_that_nobody_judged_is_refused(tmp_path: Path, capsys: Heard) -> None:
    unjudged("A", tmp_path / "a")
    assert main(["promote", "BTC-USD", str(tmp_path / "a")]) == 1
    assert "was not judged: there is no gate report" in capsys.readouterr().err


def test_bundle_of_another_symbol_is_refused(tmp_path: Path, capsys: Heard) -> None:
    judged("A", tmp_path / "a")
    assert main(["promote", "ETH-USD", str(tmp_path / "a")]) == 2
    assert "this is a bundle of BTC-USD, not of ETH-USD" in capsys.readouterr().err


def test_bundle_judged_against_another_champion_is_refused(
    two_champions: tuple[str, str], tmp_path: Path, capsys: Heard
) -> None:
    judged("C", tmp_path / "c", champion=two_champions[0])
    assert main(["promote", "BTC-USD", str(tmp_path / "c")]) == 1
    assert f"the champion is {two_champions[1][:12]}, not {two_champions[0][:12]}" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["rollback"], ["history"]])
def test_unknown_symbol_starts_nothing(command: list[str], capsys: Heard) -> None:
    assert main([*command, "DOGE-USD"]) == 2
    assert "'DOGE-USD' is not a known symbol; known are BTC-USD, ETH-USD, SOL-USD" in capsys.readouterr().err


def test_name_that_is_no_symbol_is_refused(tmp_path: Path, capsys: Heard) -> None:
    assert main(["promote", "../BTC-USD", str(tmp_path)]) == 2
    assert "'../BTC-USD' is not the name of a symbol. Write it as in BTC-USD." in capsys.readouterr().err


def test_rollback_without_an_earlier_champion_is_refused(tmp_path: Path, capsys: Heard) -> None:
    assert main(["rollback", "BTC-USD"]) == 1
    assert "there is no earlier champion to go back to. Nothing was changed." in capsys.readouterr().err


def test_edited_ledger_is_told_with_its_line_and_stops_changes(
    two_champions: tuple[str, str], home: Path, capsys: Heard
) -> None:
    ledger = home / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes().replace(b'"why":"better"', b'"why":"bribed"'))
    before = content(home)
    capsys.readouterr()

    assert main(["history"]) == 1
    heard = capsys.readouterr()
    assert "ledger line 2: its content is not what its hash says; it was edited" in heard.err
    assert len(heard.out.splitlines()) == 3
    assert main(["history", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["sound"] is False
    assert document["damage"][0]["line"] == 2
    assert main(["history", "ETH-USD"]) == 1  # the whole chain counts, whoever asks
    capsys.readouterr()

    assert main(["rollback", "BTC-USD"]) == 1
    assert "champions cannot be changed while the record is damaged: ledger line 2" in capsys.readouterr().err
    assert {name: digest for name, digest in content(home).items() if name != "registry.lock"} == {
        name: digest for name, digest in before.items() if name != "registry.lock"
    }


def test_line_that_a_crash_cut_off_is_mentioned_and_no_damage(
    two_champions: tuple[str, str], home: Path, capsys: Heard
) -> None:
    with (home / "ledger.jsonl").open("ab") as ledger:
        ledger.write(b'{"index":2,')
    capsys.readouterr()
    assert main(["history"]) == 0
    heard = capsys.readouterr()
    assert heard.out.splitlines()[-1] == "2 changes"
    assert "cut off by a crash" in heard.err


# export


def test_export_writes_the_champion_or_the_bundle_that_is_named(
    two_champions: tuple[str, str], tmp_path: Path, home: Path, capsys: Heard
) -> None:
    capsys.readouterr()
    before = content(home)
    assert main(["export", "BTC-USD", "--out", str(tmp_path / "out")]) == 0
    heard = capsys.readouterr()
    files = [Path(line) for line in heard.out.splitlines()]
    assert files == [tmp_path / "out/lstm_BTC-USD_v8_enhanced.pt", tmp_path / "out/BTC-USD.onnx"]
    assert torch.load(files[0], weights_only=True)["bundle"] == two_champions[1]
    words = ["--out", str(tmp_path / "out"), "--bundle", two_champions[0][:10], "--json"]
    assert main(["export", "BTC-USD", *words]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["files"] == [str(path) for path in files]
    assert document["bundle"].endswith(two_champions[0])
    assert torch.load(files[0], weights_only=True)["bundle"] == two_champions[0]
    assert {name: digest for name, digest in content(home).items() if name != "registry.lock"} == {
        name: digest for name, digest in before.items() if name != "registry.lock"
    }


def test_export_of_nothing_writes_nothing(two_champions: tuple[str, str], tmp_path: Path, capsys: Heard) -> None:
    out = ["--out", str(tmp_path / "out")]
    for words, told in (
        (["SOL-USD"], "SOL-USD: there is no champion"),
        (["DOGE-USD"], "'DOGE-USD' is not a known symbol"),
        (["BTC-USD", "--bundle", "0123456789"], "is neither a bundle folder nor the start of one kept hash"),
        (["ETH-USD", "--bundle", str(tmp_path / "a")], "a bundle of BTC-USD, not of ETH-USD"),
    ):
        assert main(["export", *words, *out]) == 2
        assert told in capsys.readouterr().err
    cut_short(tmp_path / "a")
    assert main(["export", "BTC-USD", "--bundle", str(tmp_path / "a"), *out]) == 2
    assert "model.safetensors changed since the bundle was written" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_export_into_a_place_that_cannot_be_written_is_refused(
    two_champions: tuple[str, str], tmp_path: Path, capsys: Heard
) -> None:
    (tmp_path / "file").write_text("no folder")
    assert main(["export", "BTC-USD", "--out", str(tmp_path / "file")]) == 2
    assert f"{tmp_path / 'file'}" in capsys.readouterr().err


# temperature


@pytest.fixture
def candles(tmp_path: Path) -> Path:
    """The candles on which the example bundles were made: their validation ends at row 4,900 of 6,000."""
    folder = tmp_path / "candles"
    folder.mkdir()
    walk_candles().to_parquet(folder / "BTC-USD.parquet", index=False)
    return folder


def test_temperature_prints_the_table_and_leaves_the_bundle(
    tmp_path: Path, home: Path, candles: Path, capsys: Heard
) -> None:
    judged("A", tmp_path / "a")
    before = content(tmp_path / "a")
    assert main(["temperature", str(tmp_path / "a"), "--candles", str(candles), "--values", "2,0.5,1"]) == 0
    heard = capsys.readouterr()
    lines = heard.out.splitlines()
    assert lines[1].startswith("Measured on ")
    assert "after the bundle's validation end" in lines[1]
    assert lines[2] == ""
    assert lines[3].split() == ["T", "mean", "confidence", "share", ">", "0.9", "share", ">", "0.99", "ECE", "NLL"]
    table = [line.split() for line in lines[4 : lines.index("", 4)]]
    temperatures = [float(cells[0]) for cells in table]
    assert temperatures == sorted(temperatures)
    assert {0.5, 1.0, 2.0, 1.25} <= set(temperatures)
    assert [" ".join(cells[-3:]) for cells in table if float(cells[0]) == 1.25] == ["the bundle's own"]
    assert "The bundle keeps its own T = 1.25 " in heard.out
    files = sorted(path.name for path in (home / "temperature").rglob("*.*") if path.is_file())
    assert files == ["temperature.html", "temperature.json"]
    assert content(tmp_path / "a") == before


def test_temperature_speaks_json_alone_on_stdout(tmp_path: Path, candles: Path, capsys: Heard) -> None:
    bundle = judged("A", tmp_path / "a")
    out = tmp_path / "out"
    words = ["--candles", str(candles), "--values", "1,3", "--rows", "all", "--out", str(out), "--json"]
    assert main(["temperature", str(tmp_path / "a"), *words]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["symbol"], document["bundle"]) == ("BTC-USD", bundle)
    assert [line["temperature"] for line in document["table"]] == [1.0, 3.0]
    assert document["rows"]["out_of_sample"] is False
    assert document["files"] == [str(out / "temperature.json"), str(out / "temperature.html")]
    written = json.loads((out / "temperature.json").read_text())
    assert written == {key: value for key, value in document.items() if key != "files"}


@pytest.mark.parametrize("values", ["", "0", "-1", "a", "1,,2", "nan", "inf", "1;2"])
def test_values_that_are_no_temperatures_are_refused(values: str, capsys: Heard) -> None:
    assert main(["temperature", "x", "--candles", "y", f"--values={values}"]) == 2
    assert f"--values {values!r}: must be numbers above 0" in capsys.readouterr().err


def test_temperature_needs_the_candles_of_its_symbol(tmp_path: Path, candles: Path, home: Path, capsys: Heard) -> None:
    judged("A", tmp_path / "a")
    (candles / "BTC-USD.parquet").rename(candles / "ETH-USD.parquet")
    assert main(["temperature", str(tmp_path / "a"), "--candles", str(candles)]) == 2
    assert f"BTC-USD: there is no file {candles}/BTC-USD.parquet" in capsys.readouterr().err
    assert main(["temperature", str(tmp_path / "a"), "--candles", str(tmp_path / "absent")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert not (home / "temperature").exists()


def test_temperature_into_a_place_that_cannot_be_written_is_refused(
    tmp_path: Path, candles: Path, capsys: Heard
) -> None:
    judged("A", tmp_path / "a")
    words = ["--candles", str(candles), "--out", "/proc/crpbot", "--values", "1"]
    assert main(["temperature", str(tmp_path / "a"), *words]) == 2
    assert "/proc/crpbot: table and plots cannot be written" in capsys.readouterr().err
