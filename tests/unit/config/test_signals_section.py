"""What an operator may set about signals, and what is refused in words."""

import zoneinfo

import pytest

from models_lib.config import SignalsSection, load_config
from models_lib.config.serving_sections import zone_of
from models_lib.errors import ConfigError


def test_settings_reach_the_signals() -> None:
    signals = load_config(None, ["signals.min_confidence=0.75", "signals.levels=fixed"]).signals
    assert (signals.min_confidence, signals.levels, signals.expiry_minutes) == (0.75, "fixed", 30)


def test_default_confidence_is_the_one_that_outsiders_rely_on() -> None:
    assert SignalsSection().min_confidence == 0.60


def test_rules_of_one_more_symbol_keep_those_of_the_others() -> None:
    rules = "{price_step: 0.0001, size_step: 1, min_size: 1, min_notional: 5}"
    exchange = load_config(
        None, [f"signals.exchange.DOGE-USD={rules}", "signals.exchange.BTC-USD.price_step=0.1"]
    ).signals.exchange
    assert sorted(exchange) == ["BTC-USD", "DOGE-USD", "ETH-USD", "SOL-USD"]
    assert (exchange["BTC-USD"].price_step, exchange["BTC-USD"].size_step) == (0.1, 0.00001)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("signals.time_zone=Mars/Olympus", "must be an IANA time zone that this machine knows"),
        ("signals.time_zone=../../etc/passwd", "must be an IANA time zone"),
        ("signals.time_zone=America", "must be an IANA time zone"),
        ("signals.risk_per_trade=0", "signals.risk_per_trade: Input should be greater than 0"),
        ("signals.risk_per_trade=1.5", "less than or equal to 1"),
        ("signals.risk_per_trade=yes", "signals.risk_per_trade: must be a number"),
        ("signals.max_leverage=0", "greater than or equal to 1"),
        ("signals.account_balance=.inf", "signals.account_balance"),
        ("signals.target_multiple=0.25", "target_multiple must exceed entry_range_multiple"),
        ("signals.target_percent=0.7", "target_percent entry_range_percent"),
        ("signals.expiry_minutes=0", "signals.expiry_minutes"),
        ("signals.exchange.BTC-USD.size_step=0", "size_step: Input should be greater than 0"),
        ("signals.exchange.btc={price_step: 1, size_step: 1, min_size: 1, min_notional: 1}", "should match pattern"),
        ("signals.min_confidense=0.7", "Did you mean signals.min_confidence"),
    ],
)
def test_setting_outside_its_limits_is_refused(setting: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config(None, [setting])
    assert words in str(refused.value)


def test_utc_needs_no_data_base_of_zones() -> None:
    zoneinfo.reset_tzpath(to=())
    try:
        assert str(zone_of("UTC")) == "UTC"
    finally:
        zoneinfo.reset_tzpath()
