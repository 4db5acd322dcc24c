"""What goes wrong between this machine and an exchange, as errors that answer "what should I do?".

    429, 418, too many requests                TransientError with how long the exchange wants to be left alone
    no answer, slow, 5xx, damaged              TransientError
    unknown market, 4xx of a symbol            DataError of that symbol
    401, 403, 451, proxies, certificates       ConfigError: this machine or these settings are refused

ccxt takes a status for one of its classes by a table of its own, in which 403, 404 and 451 are "not available" and would be
asked again for ever. So the status decides where there is one, then ccxt's class, then what `requests` said.

What does not belong here: waiting and trying again.
"""

import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

from models_lib.errors import ConfigError, CrpbotError, DataError, TransientError, excerpt
from tasks.adapters.exchange.pace import LONGEST_HOLD_SECONDS

TOO_MANY: Final = frozenset({"DDoSProtection", "RateLimitExceeded"})
"""ccxt's classes for it. Kraken and Bybit say it with status 200."""
PASSING: Final = frozenset({"OperationFailed"})
"""And all that ccxt derives from it: network, time-outs, maintenance, damaged answers."""
OF_THE_SYMBOL: Final = frozenset({"BadRequest", "ContractUnavailable", "MarketClosed"})
REFUSED: Final = frozenset(
    {"ArgumentsRequired", "AuthenticationError", "InvalidProxySettings", "NotSupported", "RestrictedLocation"}
)
DAMAGED: Final = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError)
"""What ccxt's readers raise at an answer that has another form than they expect."""
_TOO_MANY_STATUS: Final = frozenset({418, 429})
_PASSING_STATUS: Final = frozenset({408, 409, 425})
_REFUSED_STATUS: Final = frozenset({401, 403, 407, 451})
_CLIENT_FAULT: Final = 400
_SERVER_FAULT: Final = 500
_FREQUENT: Final = "too frequent"
"""Bybit bans an address with status 403 and these words."""
_BAN_SECONDS: Final = {403: 600.0, 418: 120.0}
"""At least so long, by the documentations of Bybit and of Binance."""
_UNKNOWN: Final = "Unknown asset pair"
"""Kraken's words for an unknown market, for which ccxt has no class."""
_WRONG_ADDRESS: Final = frozenset({"InvalidSchema", "InvalidURL", "MissingSchema", "SSLError", "TooManyRedirects"})
"""Classes of `requests`."""
_BROKEN_OFF: Final = ("EOF occurred in violation of protocol", "ALERT_INTERNAL_ERROR")
"""What OpenSSL says of a server that ends the connection before it shows a certificate, as busy ones do."""


@dataclass(frozen=True)
class Heard:
    """What the last answer said beside its content.

    Attributes:
        status: of HTTP; None: there was no answer.
        retry_after: the header of that name, as it came.
        date: the header of that name, as it came.
    """

    status: int | None = None
    retry_after: str | None = None
    date: str | None = None

    def retry_after_seconds(self) -> float | None:
        """How long the exchange wants to be left alone; None where it does not say so readably."""
        if self.retry_after is None:
            return None
        try:
            seconds = float(self.retry_after)
        except ValueError:
            until, now = _seconds_of(self.retry_after), _seconds_of(self.date)
            if until is None:
                return None
            seconds = until - (time.time() if now is None else now)
        # not max() and min() alone: of a number that is none they return what stands first
        return min(max(seconds, 0.0), LONGEST_HOLD_SECONDS) if seconds == seconds else None  # noqa: PLR0124


def is_too_many(error: Exception, heard: Heard) -> bool:
    """Whether the exchange says that it is asked too often."""
    if heard.status in _REFUSED_STATUS:  # of any 403 ccxt says for Bybit that it was asked too often
        return _FREQUENT in str(error)
    return heard.status in _TOO_MANY_STATUS or bool(TOO_MANY & _kinds(error))


def left_alone_seconds(error: Exception, heard: Heard, *, usual: float) -> float | None:
    """For how long nobody on this machine should ask now; None: the exchange does not mind.

    Args:
        error: ccxt's error.
        heard: what the answer said.
        usual: after a "too many" that says nothing of time.
    """
    said = heard.retry_after_seconds()
    if said is not None or not is_too_many(error, heard):
        return said
    return usual if heard.status is None else _BAN_SECONDS.get(heard.status, usual)


def translated(subject: str, error: Exception, heard: Heard, *, of_symbol: bool) -> CrpbotError:
    """The error of ours for a fault of ccxt.

    Args:
        subject: what was asked, as the message begins, such as "BTC-USD: coinbase".
        error: ccxt's error, or one of `DAMAGED`.
        heard: what its answer said.
        of_symbol: whether the question was about one symbol: then a refusal concerns that symbol alone.
    """
    words = excerpt(error) or type(error).__name__
    if is_too_many(error, heard):
        return TransientError(
            f"{subject} is asked too often ({words}). Try again later, or lower exchange.requests_per_second.",
            retry_after_seconds=heard.retry_after_seconds(),
        )
    if heard.status is not None and heard.status >= _CLIENT_FAULT:
        return _of_status(subject, heard.status, words, heard, of_symbol=of_symbol)
    return _of_kind(subject, error, words, of_symbol=of_symbol)


def _of_status(subject: str, status: int, words: str, heard: Heard, *, of_symbol: bool) -> CrpbotError:
    if status >= _SERVER_FAULT or status in _PASSING_STATUS:
        return TransientError(
            f"{subject} answers with status {status} ({words}). Try again later.",
            retry_after_seconds=heard.retry_after_seconds(),
        )
    if status in _REFUSED_STATUS:
        return ConfigError(
            f"{subject} refuses this machine with status {status} ({words}). It may not serve this country or address: "
            f"choose another exchange.name, or set exchange.base_url."
        )
    return _refused(subject, f"refuses the question with status {status} ({words})", of_symbol=of_symbol)


def _of_kind(subject: str, error: Exception, words: str, *, of_symbol: bool) -> CrpbotError:
    kinds = _kinds(error)
    cause_kinds = _kinds(error.__cause__)
    if _WRONG_ADDRESS & cause_kinds and not any(said in str(error.__cause__) for said in _BROKEN_OFF):
        # An address that cannot be read may be a proxy's, and a piece of it that of a password.
        cause = type(error.__cause__).__name__ if "InvalidURL" in cause_kinds else excerpt(error.__cause__)
        return ConfigError(
            f"{subject} cannot be asked at its address ({cause}). Check exchange.base_url, the proxy and the certificates."
        )
    if PASSING & kinds:
        return TransientError(f"{subject} gives no usable answer ({words}). Try again later.")
    if OF_THE_SYMBOL & kinds or _UNKNOWN in words:
        return _refused(subject, f"refuses the question ({words})", of_symbol=of_symbol)
    if REFUSED & kinds:
        return ConfigError(f"{subject} refuses this machine ({words}). Check the section exchange: and the proxy.")
    # Bybit's "System error. Please try again later.", say, is ccxt's plain ExchangeError.
    return TransientError(f"{subject} gives no usable answer ({type(error).__name__}: {words}). Try again later.")


def _refused(subject: str, fact: str, *, of_symbol: bool) -> CrpbotError:
    if of_symbol:
        return DataError(f"{subject} {fact}. Check exchange.markets, or drop the symbol.")
    return ConfigError(f"{subject} {fact}. Check exchange.name and exchange.base_url.")


def _kinds(error: BaseException | None) -> set[str]:
    """By name, so that this module needs neither ccxt nor requests, which is slow to import and not everywhere."""
    return {kind.__name__ for kind in type(error).__mro__}


def _seconds_of(date: str | None) -> float | None:
    """Seconds since 1970 UTC of an HTTP date."""
    try:
        return None if date is None else parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None
