"""`null` is the name of a market and YAML's word for nothing; the setting means the market."""

from pathlib import Path

import pytest

from models_lib.config import load_config


@pytest.mark.parametrize("market", ["default", "null", "iid", "planted"])
def test_every_market_can_be_set_by_its_bare_name(market: str, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(f"data:\n  market: {market}\n")
    assert load_config(None, [f"data.market={market}"]).data.market == market
    assert load_config(file).data.market == market
