"""Which spot markets an exchange has, asked once a day by all processes of this machine together.

What does not belong here: how the exchange is asked.
"""

import contextlib
import json
import math
import time
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from threading import Lock
from typing import Final

from models_lib.errors import DataError, TransientError, excerpt
from models_lib.files import whole_file
from tasks.adapters.exchange.catalogue import Tree

_DAY_SECONDS: Final = 86_400.0
_KEPT: Final = (
    "id", "symbol", "base", "quote", "baseId", "quoteId", "type", "spot", "margin", "swap", "future", "option", "contract",
    "linear", "inverse", "active", "precision",
)  # fmt: skip
"""What ccxt needs to ask for bars; with the rest, a list of Binance has many megabytes."""


class MarketList:
    """The markets of one exchange by ccxt's names, such as BTC/USDT. For any number of threads.

    Args:
        path: where the list is kept for a day; its folder is there.
        exchange: its name, for messages.
        address: where it was asked: a list from elsewhere is another one.
        ask: the markets as ccxt describes them.
    """

    def __init__(self, path: Path, *, exchange: str, address: str | None, ask: Callable[[], list[Tree]]) -> None:
        self._path = path
        self._exchange = exchange
        self._address = address
        self._ask = ask
        self._loading = Lock()
        self._markets: dict[str, Tree] = {}
        self._asked_seconds = -math.inf
        """When this process asked for the list, by the monotonic clock."""

    def market(self, symbol: str, name: str) -> Tree:
        """One market; a list that does not name it is asked for anew, by one process once a day.

        Raises:
            DataError: the exchange has no such market.
            TransientError, ConfigError: the exchange could not be asked.
        """
        if name not in self._markets:
            with self._loading:
                self._load(name)
        if name in self._markets:
            return self._markets[name]
        near = get_close_matches(name, self._markets, n=3, cutoff=0.5)
        also = f"; near it are {', '.join(near)}" if near else ""
        raise DataError(
            f"{symbol}: {self._exchange} has no spot market {name} among its {len(self._markets):,}{also}. "
            f"Name the market in exchange.markets, or drop the symbol."
        )

    def _load(self, name: str) -> None:
        if not self._markets:
            self._markets = self._stored()
        if name not in self._markets and time.monotonic() - self._asked_seconds >= _DAY_SECONDS:
            asked = {market["symbol"]: _trimmed(market) for market in self._ask() if market.get("spot")}
            if not asked:
                raise TransientError(f"{self._exchange} gives a list of markets that names none. Try again later.")
            self._markets, self._asked_seconds = asked, time.monotonic()
            self._store()

    def _stored(self) -> dict[str, Tree]:
        """The list of the last day; empty where there is none that can be used."""
        try:
            tree = json.loads(self._path.read_bytes())
            age_seconds = time.time() - tree["asked_seconds"]
            if tree["address"] != self._address or not 0.0 <= age_seconds < _DAY_SECONDS:
                return {}
            return {market["symbol"]: _trimmed(market) for market in tree["markets"]}
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, TransientError):
            return {}  # asked for again

    def _store(self) -> None:
        tree = {"asked_seconds": time.time(), "address": self._address, "markets": list(self._markets.values())}
        with contextlib.suppress(OSError), whole_file(self._path) as fresh:  # the next process asks then
            fresh.write_text(json.dumps(tree))


def _trimmed(market: Tree) -> Tree:
    try:
        return {key: market[key] for key in _KEPT}
    except KeyError as error:
        raise TransientError(f"a market comes without its {excerpt(error)}. Try again later.") from error
