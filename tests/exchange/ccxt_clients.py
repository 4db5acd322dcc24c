"""ccxt's own classes, led to the local exchange: scheme and host are replaced, the paths stay theirs.

What does not belong here: how the system itself uses ccxt; this is ccxt as it comes, to try the local exchange with.
"""

import re
from typing import Any

from tests.exchange.local_exchange import LocalExchange


def ccxt_client(exchange: LocalExchange, name: str, *, timeout_seconds: float = 5.0) -> Any:
    """A client of this name that asks the local exchange; for spot alone, and without a pace of its own."""
    import ccxt  # noqa: PLC0415 - a second and 76 MB, for those alone who ask for it

    client = getattr(ccxt, name)({"enableRateLimit": False, "timeout": timeout_seconds * 1000})
    client.urls["api"] = _led_to(client.urls["api"], exchange.url)
    client.has["fetchCurrencies"] = False
    if name in ("binance", "bybit"):
        client.options["fetchMarkets"] = {"types": ["spot"]}
    return client


def _led_to(urls: Any, url: str) -> Any:
    if isinstance(urls, dict):
        return {key: _led_to(one, url) for key, one in urls.items()}
    return re.sub(r"^https?://[^/]+", url, urls)
