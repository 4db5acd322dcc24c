"""The commands over a registry in S3, which a configuration names: on the real server, and when it is gone."""

import json
import socket
from pathlib import Path

import pytest
import yaml

from flows.cli import main
from flows.home import config_file
from models_lib.config import load_config
from models_lib.errors import ConfigError
from models_lib.registry import LocalStore
from tests.aws.weed import REGION, Weed
from tests.contracts.s3_stores import PREFIX, keys
from tests.flows.running import crpbot
from tests.judged import judged
from tests.markets import LENIENT, QUICK, write_market

Heard = pytest.CaptureFixture[str]
BTC = "BTC-USD"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("CRPBOT_HOME", str(folder))
    return folder


@pytest.fixture
def settings(bucket: str) -> list[str]:
    return ["storage.kind=s3", f"storage.uri=s3://{bucket}/{PREFIX}", f"aws.region={REGION}"]


@pytest.fixture
def in_s3(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """CRPBOT_CONFIG says that the registry is in the bucket."""
    path = tmp_path / "crpbot.yaml"
    storage = {"kind": "s3", "uri": f"s3://{bucket}/{PREFIX}"}
    path.write_text(yaml.safe_dump({"storage": storage, "aws": {"region": REGION}}))
    monkeypatch.setenv("CRPBOT_CONFIG", str(path))
    return bucket


@pytest.fixture
def gone(weed: Weed, in_s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The server has been switched off."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    weed.use(monkeypatch, port=port)
    return f"s3://{in_s3}/{PREFIX}"


@pytest.fixture
def two_champions(in_s3: str, tmp_path: Path, capsys: Heard) -> tuple[str, str]:
    """A, then B judged against it, promoted by the command line."""
    a = judged("A", tmp_path / "a")
    assert main(["promote", BTC, str(tmp_path / "a"), "--why", "the first"]) == 0
    b = judged("B", tmp_path / "b", champion=a)
    assert main(["promote", BTC, str(tmp_path / "b"), "--why", "better"]) == 0
    capsys.readouterr()
    return a, b


@pytest.mark.long
def test_run_on_candles_of_the_bucket_promotes_into_it_and_another_home_goes_on_there(
    weed: Weed,
    in_s3: str,
    settings: list[str],
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Heard,
) -> None:
    monkeypatch.delenv("CRPBOT_CONFIG")
    market = write_market(tmp_path / "market", BTC) / f"{BTC}.parquet"
    weed.client().upload_file(str(market), in_s3, f"candles/1m/{BTC}.parquet")
    more = ("storage.results=s3", "data.source=s3", f"data.uri=s3://{in_s3}/candles/1m")
    words = [word for setting in (*QUICK, *LENIENT, *settings, *more) for word in ("--set", setting)]
    answer = crpbot(home, "run", "--symbols", BTC, "--json", *words)
    assert answer.returncode == 0, answer.stderr
    told = json.loads(answer.stdout)["symbols"][BTC]
    assert told["outcome"] == "promoted"
    assert LocalStore(home).find("") == ()
    assert not (home / "ledger.jsonl").exists()
    assert f"promoted/{BTC}.json" in keys(weed.client(), in_s3)

    again = crpbot(tmp_path / "another", "run", "--symbols", BTC, "--json", *words)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("finished on another machine, taken over") == 7, "all but the judgement"
    assert json.loads(again.stdout)["symbols"][BTC]["bundle"] == told["bundle"]
    monkeypatch.setenv("CRPBOT_HOME", str(tmp_path / "another"))
    by_settings = [word for setting in settings for word in ("--set", setting)]
    assert main(["history", "--json", *by_settings]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["entries"]
    assert entry["to"] == told["bundle"]
    assert main(["verify", told["bundle"][:12], *by_settings]) == 0
    capsys.readouterr()
    assert main(["history"]) == 0
    assert capsys.readouterr().out == "0 changes\n", "two kinds of storage are two registries"


def test_commands_take_the_registry_that_the_configuration_names(
    weed: Weed, two_champions: tuple[str, str], in_s3: str, home: Path, tmp_path: Path, capsys: Heard
) -> None:
    a, b = two_champions
    assert main(["status", BTC, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)["symbols"][BTC]
    assert (row["champion"], row["previous"], row["faults"]) == (b, a, [])
    assert main(["rollback", BTC]) == 0
    assert f"{b[:12]} taken back, {a[:12]} again" in capsys.readouterr().out
    assert main(["verify", a[:8], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bundle"] == str(home / "cache" / "bundles" / a)
    assert main(["history", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [entry["action"] for entry in told["entries"]] == ["promote", "promote", "rollback"]
    assert told["sound"]
    assert main(["clean", "--json"]) == 0
    kept = {item["path"]: item["why"] for item in json.loads(capsys.readouterr().out)["kept"]}
    assert kept[f"s3://{in_s3}/{PREFIX}/bundles/{a}"] == f"champion of {BTC}"
    assert not (home / "store").exists()


def test_damaged_ledger_in_the_bucket_is_told(
    weed: Weed, two_champions: tuple[str, str], in_s3: str, capsys: Heard
) -> None:
    weed.client().delete_object(Bucket=in_s3, Key=f"{PREFIX}/ledger/00000000.json")
    assert main(["history"]) == 1
    assert "ledger line 1: it is entry 1, expected was 0" in capsys.readouterr().err
    assert main(["rollback", BTC]) == 1
    assert "cannot be changed while the record is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["run"], 2),
        (["history"], 1),
        (["status"], 1),
        (["rollback", BTC], 1),
        (["verify", "0123456789ab"], 1),
        (["clean"], 1),
        (["deploy", BTC, "--set", "deployment.target=local"], 3),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_server_that_is_gone_is_one_line_and_nothing_half(
    gone: str, words: list[str], status: int, home: Path, capsys: Heard
) -> None:
    assert main(words) == status
    heard = capsys.readouterr()
    (line,) = heard.err.splitlines()
    assert gone in line
    assert "does not answer" in line
    assert "Try again later" in line
    assert not (home / "runs").exists()
    assert not list(home.rglob("*.partial"))


def test_symbol_is_silenced_while_the_registry_is_gone(gone: str, tmp_path: Path, capsys: Heard) -> None:
    assert main(["hold", BTC, "--reason", "the bucket is away"]) == 0
    assert "on hold" in capsys.readouterr().out
    judged("A", tmp_path / "a")
    assert main(["verify", str(tmp_path / "a")]) == 0


def test_night_begins_while_the_bucket_does_not_answer_and_not_without_a_bucket(
    weed: Weed, gone: str, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from flows.train_all import look_at_storage

    look_at_storage(home, load_config(config_file(), ()))
    (record,) = [record for record in caplog.records if record.name == "models_lib"]
    assert "does not answer" in record.message
    assert record.message.endswith("This run begins all the same.")
    weed.use(monkeypatch)
    nowhere = ["storage.uri=s3://crpbot-nowhere/x"]
    with pytest.raises(ConfigError, match=r"s3://crpbot-nowhere/x.*there is no such bucket"):
        look_at_storage(home, load_config(config_file(), nowhere))
