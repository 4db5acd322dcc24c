"""Bad candles through the real command line: `data check` says what is wrong, `run` fails that symbol and goes on."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.cli import main
from models_lib.candles.archive.archive import CandleArchive
from models_lib.candles.archive.places import LocalPlace
from models_lib.candles.exchange import Market
from models_lib.config import ExchangeSection
from tests.archived import page
from tests.bad_candles import MESSAGES, good_candles, write_spoilt
from tests.markets import LENIENT, QUICK, write_market


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CRPBOT_HOME", str(tmp_path / "home"))
    candles = tmp_path / "candles"
    candles.mkdir()
    return candles


@pytest.mark.parametrize("fault", MESSAGES)
def test_data_check_refuses_a_bad_file_and_says_why(
    folder: Path, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_spoilt(folder / "BTC-USD.parquet", fault)
    assert main(["data", "check", str(folder)]) == 1
    heard = capsys.readouterr()
    table, told = heard.out.splitlines(), heard.err.splitlines()
    assert table[1].split() == ["BTC-USD", "refused"]
    assert told[0] == "crpbot: 1 of 1 files break a rule:"
    assert told[1].startswith(f"  BTC-USD ({folder / 'BTC-USD.parquet'}): ")
    assert MESSAGES[fault] in told[1]
    assert told[1].endswith(".")
    assert len(told) == 2


def test_data_check_of_good_candles_is_done(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good_candles().drop(index=range(300, 306)).to_parquet(folder / "BTC-USD.parquet", index=False)
    assert main(["data", "check", str(folder)]) == 0
    heard = capsys.readouterr()
    header, row, *warnings = heard.out.splitlines()
    assert header.split() == ["symbol", "verdict", "rows", "first", "last", "missing", "filled", "warnings"]
    words = ["BTC-USD", "ok", "1,994", "2026-01-02", "00:00", "2026-01-03", "09:19", "0.30%", "0", str(len(warnings))]
    assert row.split() == words
    assert warnings[0].startswith("BTC-USD: warning: 6 of 2,000 minutes (0.3%) are missing in 1 hole")
    assert heard.err == ""


def test_data_check_speaks_json_alone_on_stdout(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good_candles().to_parquet(folder / "BTC-USD.parquet", index=False)
    write_spoilt(folder / "ETH-USD.parquet", "empty")
    assert main(["data", "check", str(folder), "--json"]) == 1
    heard = capsys.readouterr()
    document = json.loads(heard.out)
    assert (document["folder"], document["passed"]) == (str(folder), False)
    good, bad = document["files"]
    assert (good["symbol"], good["passed"], good["error"], good["report"]["rows"]) == ("BTC-USD", True, None, 2_000)
    assert (bad["symbol"], bad["passed"], bad["report"]) == ("ETH-USD", False, None)
    assert MESSAGES["empty"] in bad["error"]
    assert MESSAGES["empty"] in heard.err


def test_data_check_judges_an_archive_as_it_judges_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """BTC-USD is whole but for six minutes; of ETH-USD a month is damaged."""
    for symbol in ("BTC-USD", "ETH-USD"):
        with CandleArchive(LocalPlace(folder), folder.parent / "staging").writer(
            symbol, market=Market(symbol, symbol.replace("-", "/"), symbol[:3]), exchange=ExchangeSection()
        ) as writer:
            writer.add(page(0, 2_000, [*range(300), *range(306, 2_000)]))
    damaged = next((folder / "ETH-USD").glob("2026-01.*.parquet"))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert main(["data", "check", str(folder)]) == 1
    heard = capsys.readouterr()
    _, good, bad, *warnings = heard.out.splitlines()
    assert good.split()[:7] == ["BTC-USD", "ok", "1,994", "2025-12-31", "22:20", "2026-01-02", "07:39"]
    assert bad.split() == ["ETH-USD", "refused"]
    assert warnings[0].startswith("BTC-USD: warning: 6 of 2,000 minutes (0.3%) are missing in 1 hole")
    assert f"{damaged}: the file is missing or damaged. The next fetch" in heard.err


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("absent", "does not exist. Name the folder with <SYMBOL>.parquet files."),
        ("file", "is not a folder. Name the folder"),
        ("candles", "holds no .parquet file and no archive of candles."),
    ],
)
def test_data_check_without_a_folder_of_candles_starts_nothing(
    folder: Path, name: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder.parent / "file").write_text("")
    assert main(["data", "check", str(folder.parent / name)]) == 2
    heard = capsys.readouterr()
    assert heard.out == ""
    assert f"crpbot: the folder {folder.parent / name} {told}" in heard.err


@pytest.fixture
def harness(prefect: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The session's server under the name by which an operator would give it; the environment as it was afterwards."""
    from prefect.settings import PREFECT_API_URL

    before = dict(os.environ)
    monkeypatch.setenv("PREFECT_API_URL", PREFECT_API_URL.value())
    yield
    os.environ.clear()
    os.environ.update(before)


# One of each kind: unreadable, schema, clock, value, whole file. `data check` above has all of them, by the same rules.
FAULTS_OF_A_RUN = ("empty", "columns", "naive", "nan", "constant", "novolume")


@pytest.mark.prefect
@pytest.mark.xdist_group("prefect")
@pytest.mark.usefixtures("harness")
def test_run_fails_every_symbol_with_bad_candles_and_trains_the_other(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = {f"{fault.upper()}-USD": MESSAGES[fault] for fault in FAULTS_OF_A_RUN}
    for fault in FAULTS_OF_A_RUN:
        write_spoilt(folder / f"{fault.upper()}-USD.parquet", fault)
    good_candles().to_parquet(folder / "SHORT-USD.parquet", index=False)
    wanted["SHORT-USD"] = "(at least 500 needed)"
    wanted["ABSENT-USD"] = f"there is no file {folder}/ABSENT-USD.parquet. Put the symbol's candles there"
    write_market(folder, "BTC-USD")

    symbols = ["BTC-USD", *wanted]
    settings = ("data.source=parquet", f"data.path={folder}", f"symbols=[{', '.join(symbols)}]", *QUICK, *LENIENT)
    status = main(["run", "--json", *(word for setting in settings for word in ("--set", setting))])
    heard = capsys.readouterr()
    document = json.loads(heard.out)

    assert status == 1
    assert list(document["symbols"]) == sorted(symbols)
    trained = document["symbols"].pop("BTC-USD")
    assert trained["outcome"] in {"promoted", "held"}
    assert len(trained["bundle"]) == 64
    stale = trained["data"]["stale"]
    assert stale.startswith(f"the newest bar ({trained['data']['last']}) is ")
    assert stale.endswith("(more than 2 is stale)")
    short = document["symbols"]["SHORT-USD"]["data"]["stale"]  # its candles were judged before it failed
    assert heard.err.splitlines()[-2:] == [f"warning: BTC-USD: {stale}", f"warning: SHORT-USD: {short}"]
    assert document["symbols"]["NAN-USD"]["data"] is None
    [page] = (folder.parent / "home" / "runs").glob("*/summary.md")
    assert f"- BTC-USD: {stale}" in page.read_text()
    for symbol, entry in document["symbols"].items():
        assert entry["outcome"] == "failed"
        assert (entry["bundle"], entry["metrics"], entry["report"]) == (None, None, None)
        assert entry["reason"].startswith(symbol)
        assert wanted[symbol] in entry["reason"]
