"""Bybit v5 spot as its public endpoints speak.

Sources, 2026-11:
bybit-exchange.github.io/docs/v5 (market/kline, market/instrument, market/time, rate-limit); samples of answers in ccxt
4.5.64's bybit.py.
- Times are ms; `start` and `end` are both included; 200 bars unless asked, 1000 at most.
- Bars come newest first, as lists of seven strings. Which are given where a span holds more than `limit` is not documented:
  here the newest, or with `start` alone the oldest.
- What goes wrong is a retCode with status 200; who sends more than 600 requests in 5 s gets 403 for ten minutes.

What does not belong here: what is served (listed.py), what goes wrong (faults.py).
"""

from collections.abc import Mapping

from tests.exchange.listed import Listed, Row
from tests.exchange.wire import (
    NO_END_MS,
    NOT_FROM_HERE_PAGE,
    Kind,
    Query,
    Question,
    RefusedError,
    as_json,
    by_market_id,
    number,
)

_KINDS: dict[str, Kind] = {
    "/v5/market/kline": "candles",
    "/v5/market/instruments-info": "markets",
    "/v5/market/time": "time",
}


class Bybit:
    name = "bybit"
    page_bars = 1000

    def kind(self, path: str) -> Kind | None:
        if path in _KINDS:
            return _KINDS[path]
        return "other" if path.startswith("/v5/") else None

    def question(self, path: str, query: Query, listed: Mapping[str, Listed], now_ms: int) -> Question:
        market = by_market_id(listed, query.get("symbol", ""), "")
        if market is None or query.get("category") != "spot":
            raise RefusedError("unknown symbol", 200, _answer({}, now_ms, 10001, "Not supported symbols"))
        if query.get("interval") != "1":
            raise RefusedError("bad request", 200, _answer({}, now_ms, 10001, "Invalid period!"))
        try:
            limit = int(query.get("limit", "200"))
            first, last = int(query.get("start", "0")), int(query.get("end", str(NO_END_MS)))
        except ValueError:
            raise RefusedError("bad request", 200, _answer({}, now_ms, 10001, "params error")) from None
        oldest = "start" in query and "end" not in query
        return Question(market.symbol, first, last, min(limit, self.page_bars), from_the_end=not oldest)

    def page(self, market: Listed, question: Question, rows: list[Row]) -> str:
        bars = ",".join(_bar(*row) for row in reversed(rows))
        name = f"{market.base}{market.quote}"
        head = '{"retCode":0,"retMsg":"OK","result":{"category":"spot","symbol":'
        return f'{head}{as_json(name)},"list":[{bars}]}},"retExtInfo":{{}},"time":0}}'

    def other(self, path: str, query: Query, listed: Mapping[str, Listed], now_ms: int) -> object:
        match path:
            case "/v5/market/instruments-info":
                spot = query.get("category") == "spot"
                found = [_instrument(one) for one in listed.values()] if spot else []
                return _answer({"category": query.get("category"), "list": found, "nextPageCursor": ""}, now_ms)
            case "/v5/market/time":
                return _answer({"timeSecond": str(now_ms // 1000), "timeNano": f"{now_ms}000000"}, now_ms)
        raise RefusedError("no such path", 404, _answer({}, now_ms, 10001, "Request parameter error."))

    def busy(self, status: int) -> object:
        return {"retCode": 10006, "retMsg": "Too many visits!", "result": {}, "retExtInfo": {}, "time": 0}

    def not_from_here(self) -> tuple[int, str]:
        return 403, NOT_FROM_HERE_PAGE


def _answer(result: object, now_ms: int, code: int = 0, words: str = "OK") -> object:
    return {"retCode": code, "retMsg": words, "result": result, "retExtInfo": {}, "time": now_ms}


def _bar(stamp: int, opened: float, high: float, low: float, close: float, volume: float) -> str:
    prices = f'"{number(opened)}","{number(high)}","{number(low)}","{number(close)}"'
    return f'["{stamp}",{prices},"{number(volume)}","{number(volume * close)}"]'


def _instrument(market: Listed) -> object:
    return {
        "symbol": f"{market.base}{market.quote}",
        "baseCoin": market.base,
        "quoteCoin": market.quote,
        "innovation": "0",
        "status": "Closed" if market.delisted else "Trading",
        "marginTrading": "none",
        "lotSizeFilter": {
            "basePrecision": "0.000001",
            "quotePrecision": "0.00000001",
            "minOrderQty": "0.00004",
            "maxOrderQty": "63.01197227",
            "minOrderAmt": "1",
            "maxOrderAmt": "100000",
        },
        "priceFilter": {"tickSize": "0.01"},
    }
