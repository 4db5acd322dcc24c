"""What a machine costs: asked at most once a day, kept with its date, and never guessed."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from models_lib.config import SageMakerSection
from models_lib.errors import ConfigError, TransientError
from tasks.adapters.aws.clients import Aws
from tasks.adapters.sagemaker.prices import current_price
from tasks.adapters.sagemaker.tables import tables
from tests.aws.cloud import Cloud
from tests.ports import free_port

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
TABLES = tables(SageMakerSection())


def ask(home: Path, *, region: str = "eu-central-1", days: float = 0.0) -> str | None:
    price = current_price(
        Aws(region, attempts=1), TABLES, "ml.g5.xlarge", region, home=home, now=NOW + timedelta(days=days)
    )
    return price and f"{price.usd_per_hour:g} {price.as_of} {price.source}"


def test_price_is_of_training_and_asked_once_a_day(cloud: Cloud, tmp_path: Path) -> None:
    cloud.with_price("ml.g5.xlarge", 1.76)
    assert ask(tmp_path) == "1.76 2026-11-20 AWS Pricing API"
    cloud.with_price("ml.g5.xlarge", 1.90)
    assert ask(tmp_path, days=0.4) == "1.76 2026-11-20 AWS Pricing API, kept"
    assert ask(tmp_path, days=1) == "1.9 2026-11-21 AWS Pricing API"
    assert cloud.requests()["pricing:GetProducts"] == 2
    assert json.loads((tmp_path / "cache/prices.json").read_text()) == {
        "eu-central-1 ml.g5.xlarge": {"usd_per_hour": 1.9, "as_of": "2026-11-21"}
    }


def test_price_of_another_day_or_of_the_table_stands_when_asking_is_forbidden(cloud: Cloud, tmp_path: Path) -> None:
    cloud.with_price("ml.g5.xlarge", 1.76)
    ask(tmp_path)
    cloud.deny("pricing:GetProducts")
    assert ask(tmp_path, days=9) == "1.76 2026-11-20 AWS Pricing API, kept"
    assert ask(tmp_path / "new") is None
    kept = tmp_path / "old/cache/prices.json"
    kept.parent.mkdir(parents=True)
    kept.write_text('{"us-east-1 ml.g5.xlarge": {"usd_per_hour": 1.3, "as_of": "2025-01-01"}}')
    assert ask(tmp_path / "old", region="us-east-1") == "1.41 2025-11-16 price table", "the newest that is known"
    assert ask(tmp_path / "new", region="us-east-1") == f"1.41 {date(2025, 11, 16)} price table"


def test_damaged_keeping_is_asked_anew(cloud: Cloud, tmp_path: Path) -> None:
    cloud.with_price("ml.g5.xlarge", 1.76)
    (tmp_path / "cache").mkdir()
    for damage in ("[]", "{", '{"eu-central-1 ml.g5.xlarge": {"usd_per_hour": -1, "as_of": "2026-11-20"}}'):
        (tmp_path / "cache/prices.json").write_text(damage)
        assert ask(tmp_path) == "1.76 2026-11-20 AWS Pricing API"


def test_nobody_answers_and_nothing_is_known(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(TransientError, match="Try again later"):
        ask(tmp_path)
    assert ask(tmp_path, region="us-east-1") == "1.41 2025-11-16 price table"
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ConfigError, match="no credentials"):
        ask(tmp_path)
