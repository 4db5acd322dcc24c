"""What every source of stored candles must do, run against a folder and a bucket of a real S3 server."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from models_lib.candles.schema import TIMESTAMP_DTYPE, data_hash
from models_lib.candles.simulated import simulate_candles
from models_lib.candles.sources import CandleSource, load_candles
from models_lib.config import RunConfig, load_config
from models_lib.errors import ConfigError, DataError
from models_lib.files import sha256_bytes
from tasks.adapters.sources import check_source, open_source
from tests.aws.weed import REGION, Weed
from tests.markets import NO_HOME
from tests.ports import free_port

BTC, ETH = "BTC-USD", "ETH-USD"
NOW = datetime(2026, 1, 3, tzinfo=UTC)


@dataclass(frozen=True)
class Place:
    """Where candles are kept, and how one puts a file there as somebody else would."""

    config: RunConfig
    put: Callable[[str, bytes], object]
    address: str

    @property
    def source(self) -> CandleSource:
        return open_source(self.config, home=NO_HOME)


@pytest.fixture(params=["parquet", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "parquet":
        config = load_config(None, ("data.source=parquet", f"data.path={tmp_path}"))
        return Place(config, lambda name, content: (tmp_path / name).write_bytes(content), str(tmp_path))
    weed: Weed = request.getfixturevalue("weed")
    bucket: str = request.getfixturevalue("bucket")
    uri, client = f"s3://{bucket}/candles/1m", weed.client()

    def put(name: str, content: bytes) -> None:
        client.put_object(Bucket=bucket, Key=f"candles/1m/{name}", Body=content)

    return Place(load_config(None, ("data.source=s3", f"data.uri={uri}", f"aws.region={REGION}")), put, uri)


@pytest.fixture(scope="module")
def market() -> pd.DataFrame:
    return simulate_candles(BTC, market="default", seed=7, days=2)


@pytest.fixture(scope="module")
def file(market: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("market") / "file.parquet"
    market.to_parquet(path)
    return path.read_bytes()


def test_candles_come_back_to_the_bit(place: Place, market: pd.DataFrame, file: bytes) -> None:
    place.put(f"{BTC}.parquet", file)
    frame, _ = load_candles(place.source, BTC, place.config.data, now=None)
    assert frame["timestamp"].dtype == TIMESTAMP_DTYPE
    assert data_hash(frame) == data_hash(market)


def test_origin_is_the_address_of_the_file(place: Place) -> None:
    assert place.source.origin(BTC) == f"{place.address}/{BTC}.parquet"


def test_candles_that_end_long_ago_are_a_warning(place: Place, file: bytes, market: pd.DataFrame) -> None:
    place.put(f"{BTC}.parquet", file)
    closed = market["timestamp"].iloc[-1].to_pydatetime() + timedelta(minutes=1)
    _, fresh = load_candles(place.source, BTC, place.config.data, now=closed + timedelta(days=2))
    assert (fresh.stale, fresh.warnings) == (None, ())
    _, old = load_candles(place.source, BTC, place.config.data, now=closed + timedelta(days=2, minutes=1))
    assert old.stale is not None
    assert "is 2.0 days old at" in old.stale
    assert old.warnings == (old.stale,)


def test_files_know_nothing_beside_their_candles(place: Place) -> None:
    assert (place.source.facts(BTC), place.source.remarks(BTC)) == (None, ())


def test_missing_file_concerns_its_symbol_only(place: Place, file: bytes) -> None:
    place.put(f"{BTC}.parquet", file)
    with pytest.raises(DataError, match=r"^ETH-USD: there is no .*ETH-USD\.parquet\. Put the symbol's candles there"):
        place.source.fetch(ETH)
    assert len(place.source.fetch(BTC)) == 2_880


def test_content_changes_with_the_file_and_with_nothing_else(place: Place, file: bytes, market: pd.DataFrame) -> None:
    assert place.source.content(BTC) is None
    place.put(f"{BTC}.parquet", file)
    first = place.source.content(BTC)
    assert first is not None
    place.put(f"{BTC}.parquet", file)
    assert place.source.content(BTC) == first
    place.put(f"{BTC}.parquet", file[:-1])
    assert place.source.content(BTC) != first


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", r"the file is empty \(0 bytes\)"), (b"timestamp,open\n", "cannot be read as parquet")],
)
def test_damaged_file_is_refused_by_its_address(place: Place, content: bytes, words: str) -> None:
    place.put(f"{BTC}.parquet", content)
    with pytest.raises(DataError, match=words) as refusal:
        place.source.fetch(BTC)
    assert f"{place.address}/{BTC}.parquet" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def s3(uri: str) -> RunConfig:
    return load_config(None, ("data.source=s3", f"data.uri={uri}", f"aws.region={REGION}"))


def test_content_of_a_file_with_a_known_hash_is_that_hash(weed: Weed, bucket: str, file: bytes) -> None:
    weed.client().put_object(Bucket=bucket, Key=f"{BTC}.parquet", Body=file, Metadata={"sha256": sha256_bytes(file)})
    assert open_source(s3(f"s3://{bucket}"), home=NO_HOME).content(BTC) == sha256_bytes(file)


def test_bucket_is_checked_before_anything_starts(weed: Weed, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"no candles are there\. It must hold one <SYMBOL>.parquet object a symbol"):
        check_source(s3(f"s3://{bucket}/candles"), home=NO_HOME)
    with pytest.raises(ConfigError, match="there is no such bucket"):
        check_source(s3(f"s3://{bucket}-absent/candles"), home=NO_HOME)
    weed.client().put_object(Bucket=bucket, Key=f"candles/{BTC}.parquet", Body=b"")
    check_source(s3(f"s3://{bucket}/candles"), home=NO_HOME)
    weed.use(monkeypatch, secret_key="wrong")
    with pytest.raises(ConfigError, match="refuses the credentials"):
        check_source(s3(f"s3://{bucket}/candles"), home=NO_HOME)


def test_bucket_that_does_not_answer_is_worth_a_warning_at_the_start(
    weed: Weed, bucket: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    weed.use(monkeypatch, port=free_port())
    check_source(s3(f"s3://{bucket}/candles"), home=NO_HOME)
    assert "AWS does not answer" in caplog.text
