"""Every error of ccxt becomes one of ours that says what to do; none gets through, and none is forgotten."""

import pickle

import pytest
import requests
from ccxt.base import errors as ccxt_errors

from models_lib.errors import ConfigError, CrpbotError, DataError, TransientError
from tasks.adapters.exchange.faults import (
    OF_THE_SYMBOL,
    PASSING,
    REFUSED,
    TOO_MANY,
    Heard,
    is_too_many,
    left_alone_seconds,
    translated,
)

ALL = {
    name: kind
    for name, kind in vars(ccxt_errors).items()
    if isinstance(kind, type) and issubclass(kind, ccxt_errors.BaseError)
}
PASSES = {
    "BadResponse",
    "CancelPending",
    "ChecksumError",
    "DDoSProtection",
    "ExchangeNotAvailable",
    "InvalidNonce",
    "NetworkError",
    "NullResponse",
    "OnMaintenance",
    "OperationFailed",
    "RateLimitExceeded",
    "RequestTimeout",
}
CONCERNS_THE_SYMBOL = {"BadRequest", "BadSymbol", "ContractUnavailable", "MarketClosed"}
REFUSES_THIS_MACHINE = {
    "AccountNotEnabled",
    "AccountSuspended",
    "ArgumentsRequired",
    "AuthenticationError",
    "InvalidProxySettings",
    "NotSupported",
    "PermissionDenied",
    "RestrictedLocation",
}
NEVER_FOR_PUBLIC_CANDLES = {
    "AddressPending",
    "BaseError",
    "DuplicateOrderId",
    "ExchangeClosedByUser",
    "ExchangeError",
    "InsufficientFunds",
    "InvalidAddress",
    "InvalidOrder",
    "ManualInteractionNeeded",
    "MarginModeAlreadySet",
    "NoChange",
    "OperationRejected",
    "OrderImmediatelyFillable",
    "OrderNotCached",
    "OrderNotFillable",
    "OrderNotFound",
    "UnsubscribeError",
}
"""What ccxt uses for what it has no better class for as well: worth another try."""
KINDS: dict[str, type[CrpbotError]] = {
    **dict.fromkeys(PASSES | NEVER_FOR_PUBLIC_CANDLES, TransientError),
    **dict.fromkeys(CONCERNS_THE_SYMBOL, DataError),
    **dict.fromkeys(REFUSES_THIS_MACHINE, ConfigError),
}


def ours(error: Exception, heard: Heard = Heard(), *, of_symbol: bool = True) -> CrpbotError:  # noqa: B008 - frozen
    told = translated("BTC-USD: binance", error, heard, of_symbol=of_symbol)
    again = pickle.loads(pickle.dumps(told))
    assert (type(again), str(again)) == (type(told), str(told))
    return told


def test_lists_name_every_class_of_ccxt_once() -> None:
    lists = [PASSES, CONCERNS_THE_SYMBOL, REFUSES_THIS_MACHINE, NEVER_FOR_PUBLIC_CANDLES]
    assert sum(map(len, lists)) == len(KINDS)
    assert KINDS.keys() == ALL.keys()
    assert ALL.keys() >= TOO_MANY | PASSING | OF_THE_SYMBOL | REFUSED


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_class_of_ccxt_becomes_one_of_ours(name: str) -> None:
    error = ours(ALL[name]("binance says\nso"), Heard(200))
    assert type(error) is KINDS[name]
    assert str(error).startswith("BTC-USD: binance ")
    assert "binance says?so" in str(error)
    assert is_too_many(ALL[name](""), Heard(200)) == (name in TOO_MANY)


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (400, DataError, "refuses the question with status 400 (words). Check exchange.markets, or drop the symbol."),
        (401, ConfigError, "refuses this machine with status 401"),
        (403, ConfigError, "choose another exchange.name, or set exchange.base_url."),
        (404, DataError, "refuses the question with status 404"),
        (407, ConfigError, "refuses this machine with status 407"),
        (408, TransientError, "answers with status 408 (words). Try again later."),
        (418, TransientError, "is asked too often (words). Try again later, or lower exchange.requests_per_second."),
        (422, DataError, "refuses the question with status 422"),
        (429, TransientError, "is asked too often (words)."),
        (451, ConfigError, "It may not serve this country or address"),
        (500, TransientError, "answers with status 500"),
        (503, TransientError, "answers with status 503"),
        (530, TransientError, "answers with status 530"),
    ],
)
@pytest.mark.parametrize("raised", ["ExchangeError", "ExchangeNotAvailable", "BadRequest", "AuthenticationError"])
def test_status_decides_whatever_class_ccxt_took(status: int, kind: type[CrpbotError], words: str, raised: str) -> None:
    error = ours(ALL[raised]("words"), Heard(status))
    assert type(error) is kind
    assert words in str(error)


def test_refusal_of_no_symbol_is_a_mistake_of_the_configuration() -> None:
    error = ours(ALL["ExchangeError"]("no such page"), Heard(404), of_symbol=False)
    assert type(error) is ConfigError
    assert "Check exchange.name and exchange.base_url." in str(error)


def test_ban_of_bybit_passes() -> None:
    banned = ALL["ExchangeNotAvailable"]("bybit GET ... 403 Forbidden 403, access too frequent")
    assert is_too_many(banned, Heard(403))
    assert type(ours(banned, Heard(403))) is TransientError


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (requests.exceptions.SSLError("certificate verify failed"), ConfigError),
        (requests.exceptions.TooManyRedirects("30"), ConfigError),
        (requests.exceptions.InvalidURL("no host"), ConfigError),
        (requests.exceptions.ContentDecodingError("gzip"), TransientError),
        (requests.exceptions.RequestException("something"), TransientError),
    ],
)
def test_what_ccxt_calls_an_exchange_error_is_told_by_its_cause(cause: Exception, kind: type[CrpbotError]) -> None:
    error = ALL["ExchangeError"]("binance GET https://api.binance.com/api/v3/klines")
    error.__cause__ = cause
    assert type(ours(error)) is kind


@pytest.mark.parametrize(
    "damage", [KeyError("result"), TypeError("not a list"), IndexError("0"), RecursionError("deep")]
)
def test_damaged_answer_is_worth_another_try(damage: Exception) -> None:
    assert type(ours(damage, Heard(200))) is TransientError


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("1e99", 259_200.0),  # three days: the longest ban that Binance documents
        ("nan", None),
        ("soon", None),
        ("Sun, 22 Nov 2026 12:00:30 GMT", 30.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0),
        ("Sun, 99 Nov 2026 11:00:00 GMT", None),
    ],
)
def test_wish_to_be_left_alone_is_read(said: str | None, seconds: float | None) -> None:
    heard = Heard(429, said, "Sun, 22 Nov 2026 12:00:00 GMT")
    assert heard.retry_after_seconds() == seconds
    error = ours(ALL["DDoSProtection"](""), heard)
    assert isinstance(error, TransientError)
    assert error.retry_after_seconds == seconds


@pytest.mark.parametrize(
    ("raised", "words", "heard", "seconds"),
    [
        ("DDoSProtection", "", Heard(429), 7.0),
        ("DDoSProtection", "", Heard(429, "30"), 30.0),
        ("DDoSProtection", "", Heard(418), 120.0),  # Binance: bans last from 2 minutes to 3 days
        ("RateLimitExceeded", "403, access too frequent", Heard(403), 600.0),  # Bybit: wait for at least 10 minutes
        ("RateLimitExceeded", "not from your country", Heard(403), None),
        ("DDoSProtection", "EGeneral:Too many requests", Heard(200), 7.0),
        ("ExchangeNotAvailable", "", Heard(503), None),
        ("ExchangeNotAvailable", "", Heard(503, "2"), 2.0),
        ("RequestTimeout", "", Heard(), None),
    ],
)
def test_exchange_is_left_alone_where_it_minds(raised: str, words: str, heard: Heard, seconds: float | None) -> None:
    assert left_alone_seconds(ALL[raised](words), heard, usual=7.0) == seconds


def test_date_without_the_exchanges_own_date_is_held_against_this_machines_clock() -> None:
    assert Heard(429, "Thu, 01 Jan 2026 00:00:00 GMT", None).retry_after_seconds() == 0.0
    assert Heard(503, "Thu, 01 Jan 2099 00:00:00 GMT", "garbage").retry_after_seconds() == 259_200.0
