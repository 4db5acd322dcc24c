"""Coinbase Advanced Trade as its public endpoints speak.

Sources, 2026-11:
docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/public/get-public-product-candles, list-public-products and
get-server-time; docs.cdp.coinbase.com/exchange/rest-api/rate-limits (10 public requests a second and address, then 429);
samples of answers, the older clock at /v2/time among them, in ccxt 4.5.64's coinbase.py; real answers of
nautilus-coinbase 0.56.0 (test_data/http_candles.json) for the order of candles.
- `start` and `end` are seconds, both required; both ends are included.
- Candles come newest first, as objects whose values are all strings; `start` is in seconds.
- At most 350 buckets a request; more are refused with 400, in words that users report, when the limit was 300, at
  github.com/KmiQ/coinbase-advanced-python/pull/26. ccxt itself never asks for more than 300.
- Minutes without trades are absent.

What does not belong here: what is served (listed.py), what goes wrong (faults.py).
"""

import math
from collections.abc import Mapping

from tests.exchange.listed import Listed, Row
from tests.exchange.wire import NOT_FROM_HERE_PAGE, Kind, Query, Question, RefusedError, by_market_id, number, utc_text

_PRODUCTS = "/api/v3/brokerage/market/products"
_CLOCKS = ("/api/v3/brokerage/time", "/v2/time")


class Coinbase:
    name = "coinbase"
    page_bars = 350

    def kind(self, path: str) -> Kind | None:
        if path.startswith(_PRODUCTS):
            return "candles" if path.endswith("/candles") else "markets"
        if path in _CLOCKS:
            return "time"
        return "other" if path.startswith(("/api/v3/brokerage/", "/v2/")) else None

    def question(self, path: str, query: Query, listed: Mapping[str, Listed], now_ms: int) -> Question:
        market = by_market_id(listed, path.removeprefix(_PRODUCTS + "/").removesuffix("/candles"), "-")
        if market is None:
            raise RefusedError("unknown symbol", 404, _error("NOT_FOUND", "valid product_id is required"))
        if query.get("granularity") != "ONE_MINUTE":
            raise RefusedError("bad request", 400, _error("INVALID_ARGUMENT", "granularity argument is invalid"))
        try:
            first, last = int(query["start"]), int(query["end"])
        except (KeyError, ValueError):
            wrong = _error("INVALID_ARGUMENT", "start and end argument is invalid")
            raise RefusedError("bad request", 400, wrong) from None
        buckets = last // 60 - math.ceil(first / 60) + 1
        if buckets > self.page_bars:
            words = (
                f"start and end argument is invalid - number of candles requested should be less than {self.page_bars}"
            )
            raise RefusedError("too many", 400, _error("INVALID_ARGUMENT", words))
        return Question(market.symbol, first * 1000, last * 1000, self.page_bars)

    def page(self, market: Listed, question: Question, rows: list[Row]) -> str:
        return '{"candles":[' + ",".join(_candle(*row) for row in reversed(rows)) + "]}"

    def other(self, path: str, query: Query, listed: Mapping[str, Listed], now_ms: int) -> object:
        if path == _PRODUCTS:
            products = [_product(one) for one in listed.values()] if query.get("product_type", "SPOT") == "SPOT" else []
            return {"products": products, "num_products": len(products)}
        if path == "/v2/time":
            return {"data": {"iso": utc_text(now_ms), "epoch": now_ms // 1000}}
        if path == "/api/v3/brokerage/time":
            return {"iso": utc_text(now_ms), "epochSeconds": str(now_ms // 1000), "epochMillis": str(now_ms)}
        raise RefusedError("no such path", 404, _error("NOT_FOUND", "Not Found"))

    def busy(self, status: int) -> object:
        return {"error": "resource_exhausted", "error_details": "rate limit exceeded", "message": "rate limit exceeded"}

    def not_from_here(self) -> tuple[int, str]:
        return 403, NOT_FROM_HERE_PAGE


def _candle(stamp: int, opened: float, high: float, low: float, close: float, volume: float) -> str:
    return (
        f'{{"start":"{stamp // 1000}","low":"{number(low)}","high":"{number(high)}","open":"{number(opened)}",'
        f'"close":"{number(close)}","volume":"{number(volume)}"}}'
    )


def _error(code: str, words: str) -> object:
    return {"error": code, "error_details": words, "message": words}


def _product(market: Listed) -> object:
    return {
        "product_id": market.symbol,
        "price": "1",
        "price_percentage_change_24h": "0",
        "volume_24h": "0",
        "volume_percentage_change_24h": "0",
        "base_increment": "0.00000001",
        "quote_increment": "0.01",
        "quote_min_size": "1",
        "quote_max_size": "150000000",
        "base_min_size": "0.00000001",
        "base_max_size": "3400",
        "base_name": market.base,
        "quote_name": market.quote,
        "watched": False,
        "is_disabled": market.delisted,
        "new": False,
        "status": "delisted" if market.delisted else "online",
        "cancel_only": False,
        "limit_only": False,
        "post_only": False,
        "trading_disabled": market.delisted,
        "auction_mode": False,
        "product_type": "SPOT",
        "quote_currency_id": market.quote,
        "base_currency_id": market.base,
        "fcm_trading_session_details": None,
        "mid_market_price": "",
        "alias": "",
        "alias_to": [],
        "base_display_symbol": market.base,
        "quote_display_symbol": market.quote,
        "view_only": market.delisted,
        "price_increment": "0.01",
        "display_name": market.symbol,
        "product_venue": "CBE",
    }
