"""Binance spot as its public endpoints speak.

Sources, 2026-11:
developers.binance.com/docs/binance-spot-api-docs/rest-api (general information, limits, market data endpoints) and its errors;
samples of answers in ccxt 4.5.64's binance.py.
- Times are ms; `startTime` and `endTime` are both included, and are compared with the bars' open times.
- Klines come oldest first, as arrays of twelve: numbers for the times and the count of trades, strings for the rest.
- With `startTime` the oldest of the span are given, without it the newest; 500 unless asked, 1000 at most.
- An unknown symbol is 400 with code -1121. 429 and, for who goes on, 418 carry code -1003, and Retry-After in seconds.
- Countries that are not served get 451.

What does not belong here: what is served (listed.py), what goes wrong (faults.py).
"""

from collections.abc import Mapping

from tests.exchange.listed import MINUTE_MS, Listed, Row
from tests.exchange.wire import NO_END_MS, Kind, Query, Question, RefusedError, as_json, by_market_id, number

_KINDS: dict[str, Kind] = {"/api/v3/klines": "candles", "/api/v3/exchangeInfo": "markets", "/api/v3/time": "time"}


class Binance:
    name = "binance"
    page_bars = 1000

    def kind(self, path: str) -> Kind | None:
        if path in _KINDS:
            return _KINDS[path]
        ours = path.startswith(("/api/v3/", "/fapi/", "/dapi/", "/sapi/")) and "/brokerage/" not in path
        return "other" if ours else None

    def question(self, path: str, query: Query, listed: Mapping[str, Listed], now_ms: int) -> Question:
        market = by_market_id(listed, query.get("symbol", ""), "")
        if market is None:
            raise RefusedError("unknown symbol", 400, {"code": -1121, "msg": "Invalid symbol."})
        if query.get("interval") != "1m":
            raise RefusedError("bad request", 400, {"code": -1120, "msg": "Invalid interval."})
        try:
            limit = int(query.get("limit", "500"))
            first, last = int(query.get("startTime", "0")), int(query.get("endTime", str(NO_END_MS)))
        except ValueError:
            wrong = {"code": -1100, "msg": "Illegal characters found in a parameter."}
            raise RefusedError("bad request", 400, wrong) from None
        newest = "startTime" not in query
        return Question(market.symbol, first, last, min(limit, self.page_bars), from_the_end=newest)

    def page(self, market: Listed, question: Question, rows: list[Row]) -> str:
        return "[" + ",".join(_kline(*row) for row in rows) + "]"

    def other(self, path: str, query: Query, listed: Mapping[str, Listed], now_ms: int) -> object:
        if path == "/api/v3/time":
            return {"serverTime": now_ms}
        if path == "/api/v3/exchangeInfo":
            symbols = [_symbol(one) for one in listed.values()]
            return {
                "timezone": "UTC",
                "serverTime": now_ms,
                "rateLimits": [],
                "exchangeFilters": [],
                "symbols": symbols,
            }
        raise RefusedError("no such path", 404, {"code": -1000, "msg": "Not Found"})

    def busy(self, status: int) -> object:
        words = "Too many requests; current limit of IP is 6000 request weight per 1 MINUTE."
        return {"code": -1003, "msg": words if status == 429 else "Way too much request weight used; IP banned."}

    def not_from_here(self) -> tuple[int, str]:
        words = "Service unavailable from a restricted location according to 'b. Eligibility' in its terms."
        return 451, as_json({"code": 0, "msg": words})


def _kline(stamp: int, opened: float, high: float, low: float, close: float, volume: float) -> str:
    half = number(volume / 2)
    return (
        f'[{stamp},"{number(opened)}","{number(high)}","{number(low)}","{number(close)}","{number(volume)}",'
        f'{stamp + MINUTE_MS - 1},"{number(volume * close)}",100,"{half}","{half}","0"]'
    )


def _symbol(market: Listed) -> object:
    return {
        "symbol": f"{market.base}{market.quote}",
        "status": "BREAK" if market.delisted else "TRADING",
        "baseAsset": market.base,
        "baseAssetPrecision": 8,
        "quoteAsset": market.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
        "icebergAllowed": True,
        "ocoAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000.00", "tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000.00", "stepSize": "0.00001"},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_MAKER"],
    }
