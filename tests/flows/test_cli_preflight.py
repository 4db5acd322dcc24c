"""`crpbot preflight`: a table that a person reads, JSON for a script, and the exit status that both act on."""

import json
from pathlib import Path

import pandas as pd
import pytest

from flows import cli
from tests.aws.cloud import Cloud
from tests.aws.lasting_tables import write_lasting_tables
from tests.ports import free_port

Heard = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CRPBOT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path / "home"


@pytest.fixture
def paid(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command for a sound account."""
    cloud.use(monkeypatch, s3_through_cloud=True)
    cloud.with_image("pytorch", "2.13.0-cu133-amzn2023-sagemaker")
    cloud.with_quota("ml.g5.xlarge", 3)
    settings = {
        "aws.region": "eu-central-1",
        "training.max_parallel": "2",
        "training.sagemaker.uri": f"s3://{cloud.with_bucket()}/trainings",
        "training.sagemaker.role_arn": cloud.with_role(),
        "training.sagemaker.tables": str(write_lasting_tables(tmp_path)),
        "training.sagemaker.budget_per_run_usd": "20",
    }
    words = [f"--set={name}={value}" for name, value in settings.items()]
    return ["preflight", "--backend", "sagemaker", "--symbols", "BTC-USD,SOL-USD", *words]


def test_local_training_that_can_begin(capsys: Heard, home: Path) -> None:
    assert cli.main(["preflight"]) == 0
    heard = capsys.readouterr()
    assert heard.err == ""
    lines = heard.out.splitlines()
    assert lines[0].split() == ["check", "symbol", "answer", "fact,", "and", "remedy"]
    assert lines[1].split(maxsplit=2) == ["home", "pass", f"{home} can be written"]
    assert lines[-1] == "6 checks: 6 pass, 0 fail, 0 unknown"
    assert [path.name for path in home.iterdir()] == [], "nothing is left behind"


def test_local_training_that_would_fail_says_all_of_why(
    capsys: Heard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CRPBOT_HOME", str(tmp_path / "file"))
    folder = tmp_path / "candles"
    folder.mkdir()
    pd.DataFrame({"timestamp": range(10_000)}).to_parquet(folder / "BTC-USD.parquet")
    words = ["--set", "data.source=parquet", "--set", f"data.path={folder}", "--symbols", "BTC-USD,ETH-USD"]
    assert cli.main(["preflight", *words, "--set", "training.device=cuda"]) == 1
    heard = capsys.readouterr()
    assert heard.err == "crpbot: 4 of 5 checks failed: home, torch, data of BTC-USD, data of ETH-USD\n"
    told = " ".join(heard.out.split())
    assert "10,000 candles" in told
    assert "-> Fetch the whole window (at least 64,800 candles, 90%), or set data.days to what there is: 7." in told
    assert "sees no GPU, but training.device=cuda" in told
    assert "Point CRPBOT_HOME to a folder that this user may write" in told
    assert max(map(len, heard.out.splitlines())) <= 120
    assert heard.out.splitlines()[-1] == "5 checks: 1 pass, 4 fail, 0 unknown"


def test_paid_training_that_can_begin(paid: list[str], capsys: Heard, cloud: Cloud) -> None:
    assert cli.main([*paid, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["backend"], document["symbols"], document["passed"]) == ("sagemaker", ["BTC-USD", "SOL-USD"], True)
    assert document["counts"]["fail"] == document["counts"]["unknown"] == 0
    assert {finding["answer"] for finding in document["findings"]} == {"pass"}
    assert cloud.jobs() == []


def test_paid_training_that_would_fail_is_told_with_each_remedy(paid: list[str], capsys: Heard, cloud: Cloud) -> None:
    cloud.with_quota("ml.g5.xlarge", 0)
    cloud.deny("iam:GetRole", principal="caller")
    assert cli.main([*paid, "--set", "data.days=1", "--set", "training.sagemaker.image=pytorch-2.13"]) == 1
    heard = capsys.readouterr()
    assert heard.err == "crpbot: 2 of 21 checks failed: image, quota\n"
    failed = [line.split()[0] for line in heard.out.splitlines() if " FAIL " in line]
    assert failed == ["image", "quota"]
    told = " ".join(heard.out.split())
    assert "-> Ask AWS for 2: Service Quotas, Amazon SageMaker, quota L-" in told
    assert "role unknown the caller may not ask: GetRole is denied" in told


def test_cloud_that_is_away_is_tried_again_later(
    paid: list[str], capsys: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert cli.main([*paid, "--json"]) == 3
    heard = capsys.readouterr()
    assert heard.err == "crpbot: AWS does not answer; try again later\n"
    assert json.loads(heard.out)["passed"] is True


def test_incomplete_configuration_is_refused_before_anybody_is_asked(capsys: Heard) -> None:
    assert cli.main(["preflight", "--backend", "sagemaker"]) == 2
    assert "aws.region must be set" in capsys.readouterr().err
    assert cli.main(["preflight", "--backend", "sagemaker", "--set", "aws.region=eu-central-1"]) == 2
    assert "training.sagemaker.uri and training.sagemaker.role_arn must be set" in capsys.readouterr().err
    assert cli.main(["preflight", "--symbols", "DOGE-USD"]) == 2
    assert "is not a configured symbol" in capsys.readouterr().err
    assert cli.main(["preflight", "--dry-run"]) == 2
    assert "add --backend sagemaker" in capsys.readouterr().err


@pytest.mark.long
def test_dry_run_trains_one_epoch_through_the_archive_and_shows_the_request(
    paid: list[str], capsys: Heard, cloud: Cloud
) -> None:
    days = ["--set", "data.days=14"]
    assert cli.main([*paid, *days, "--dry-run", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    facts = {(each["check"], each["symbol"]): each["fact"] for each in document["findings"]}
    assert facts["rehearsal", "BTC-USD"].startswith("1 epoch on 5,000 rows (at most 5,000) through the archive in ")
    request = document["request"]
    assert facts["job name", "BTC-USD"] == f"{request['TrainingJobName']} is free"
    assert facts["inputs", "BTC-USD"].startswith("features 20,160 x 72 in float32")
    assert request["AlgorithmSpecification"]["TrainingImage"].endswith("pytorch:2.13.0-cu133-amzn2023-sagemaker")
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 7200}
    assert request["HyperParameters"]["sagemaker_program"] == "train.py"
    assert cloud.jobs() == []

    (bucket,) = {word.split("/")[2] for word in request["HyperParameters"].values() if word.startswith("s3://")}
    assert cloud.client("s3").list_objects_v2(Bucket=bucket).get("Contents", []) == [], "nothing was uploaded"


def test_dry_run_without_data_says_so_and_asks_all_the_rest(paid: list[str], capsys: Heard, tmp_path: Path) -> None:
    nowhere = ["--set", "data.source=parquet", "--set", f"data.path={tmp_path / 'none'}"]
    assert cli.main([*paid, *nowhere, "--dry-run"]) == 1
    heard = capsys.readouterr()
    assert heard.err == "crpbot: 3 of 22 checks failed: data of BTC-USD, data of SOL-USD, rehearsal of BTC-USD\n"
    assert "its inputs cannot be made" in heard.out


def test_local_training_on_candles_of_a_bucket(
    cloud: Cloud, capsys: Heard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On an endpoint that names no region, as S3 servers other than AWS's do."""
    pd.DataFrame({"timestamp": range(1_440)}).to_parquet(tmp_path / "BTC-USD.parquet")
    bucket = cloud.with_bucket()
    cloud.client("s3").upload_file(str(tmp_path / "BTC-USD.parquet"), bucket, "candles/BTC-USD.parquet")
    settings = ["aws.region=eu-central-1", "data.source=s3", f"data.uri=s3://{bucket}/candles", "data.days=1"]
    words = ["preflight", "--json", *[f"--set={setting}" for setting in settings]]

    def data_of(*symbols: str) -> list[tuple[str, str]]:
        cli.main([*words, "--symbols", ",".join(symbols)])
        found = json.loads(capsys.readouterr().out)["findings"]
        return [(each["answer"], each["fact"]) for each in found if each["check"] == "data"]

    there, missing = data_of("BTC-USD", "ETH-USD")
    assert (there[0], missing[0]) == ("pass", "fail")
    assert f"1,440 candles in s3://{bucket}/candles/BTC-USD.parquet" in there[1]
    assert "there is no such object" in missing[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_port()}")
    assert [answer for answer, _ in data_of("BTC-USD")] == ["unknown"]
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    ((answer, fact),) = data_of("BTC-USD")
    assert (answer, "no credentials for AWS" in fact) == ("fail", True)
