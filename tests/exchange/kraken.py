"""Kraken spot as its public endpoints speak.

Sources, 2026-11:
docs.kraken.com/api-reference/market-data (get-ohlc-data, get-tradable-asset-pairs, get-server-time, get-system-status); that
`since` is excluded: github.com/ccxt/ccxt/issues/2786; samples of answers in ccxt 4.5.64's kraken.py.
- At most the newest 720 entries exist, whatever `since` says; the last is the running minute's and is always there.
- Entries come oldest first: seconds and a count as numbers, the rest as strings; their key is the pair's own name, XXBTZUSD.
- What goes wrong is a list under "error" with status 200.

What does not belong here: what is served (listed.py), what goes wrong (faults.py).
"""

import email.utils
from collections.abc import Mapping

from tests.exchange.listed import Listed, Row
from tests.exchange.wire import NOT_FROM_HERE_PAGE, Kind, Query, Question, RefusedError, as_json, number, utc_text

_KINDS: dict[str, Kind] = {"/0/public/OHLC": "candles", "/0/public/AssetPairs": "markets", "/0/public/Time": "time"}
_OWN_NAMES = {"BTC": "XXBT", "ETH": "XETH", "LTC": "XLTC", "XRP": "XXRP", "USD": "ZUSD", "EUR": "ZEUR"}


class Kraken:
    name = "kraken"
    page_bars = 720

    def kind(self, path: str) -> Kind | None:
        if path in _KINDS:
            return _KINDS[path]
        return "other" if path.startswith("/0/") else None

    def question(self, path: str, query: Query, listed: Mapping[str, Listed], now_ms: int) -> Question:
        market = next((one for one in listed.values() if query.get("pair") in (_pair(one), _altname(one))), None)
        if market is None:
            raise RefusedError("unknown symbol", 200, {"error": ["EQuery:Unknown asset pair"]})
        try:
            interval, since = int(query.get("interval", "1")), int(query.get("since", "0"))
        except ValueError:
            interval, since = 0, 0
        if interval != 1:
            raise RefusedError("bad request", 200, {"error": ["EGeneral:Invalid arguments"]})
        return Question(market.symbol, 0, now_ms, self.page_bars, from_the_end=True, after_ms=since * 1000)

    def page(self, market: Listed, question: Question, rows: list[Row]) -> str:
        last = rows[-2][0] // 1000 if len(rows) > 1 else question.after_ms // 1000
        entries = ",".join(_entry(*row) for row in rows)
        return f'{{"error":[],"result":{{{as_json(_pair(market))}:[{entries}],"last":{last}}}}}'

    def other(self, path: str, query: Query, listed: Mapping[str, Listed], now_ms: int) -> object:
        match path:
            case "/0/public/AssetPairs":
                return {"error": [], "result": {_pair(one): _described(one) for one in listed.values()}}
            case "/0/public/Time":
                text = email.utils.formatdate(now_ms // 1000)
                return {"error": [], "result": {"unixtime": now_ms // 1000, "rfc1123": text}}
            case "/0/public/SystemStatus":
                return {"error": [], "result": {"status": "online", "timestamp": utc_text(now_ms)}}
        raise RefusedError("no such path", 404, {"error": ["EGeneral:Unknown method"]})

    def busy(self, status: int) -> object:
        return {"error": ["EGeneral:Too many requests"]}

    def not_from_here(self) -> tuple[int, str]:
        return 403, NOT_FROM_HERE_PAGE


def _pair(market: Listed) -> str:
    return _OWN_NAMES.get(market.base, market.base) + _OWN_NAMES.get(market.quote, market.quote)


def _altname(market: Listed) -> str:
    return f"{market.base}{market.quote}".replace("BTC", "XBT")


def _entry(stamp: int, opened: float, high: float, low: float, close: float, volume: float) -> str:
    prices = f'"{number(opened)}","{number(high)}","{number(low)}","{number(close)}"'
    return f'[{stamp // 1000},{prices},"{number(close)}","{number(volume)}",100]'


def _described(market: Listed) -> object:
    return {
        "altname": _altname(market),
        "wsname": f"{market.base}/{market.quote}".replace("BTC", "XBT"),
        "aclass_base": "currency",
        "base": _OWN_NAMES.get(market.base, market.base),
        "aclass_quote": "currency",
        "quote": _OWN_NAMES.get(market.quote, market.quote),
        "lot": "unit",
        "cost_decimals": 5,
        "pair_decimals": 1,
        "lot_decimals": 8,
        "lot_multiplier": 1,
        "leverage_buy": [],
        "leverage_sell": [],
        "fees": [[0, 0.4]],
        "fees_maker": [[0, 0.25]],
        "fee_volume_currency": "ZUSD",
        "margin_call": 80,
        "margin_stop": 40,
        "ordermin": "0.00005",
        "costmin": "0.5",
        "tick_size": "0.1",
        "status": "delisted" if market.delisted else "online",
    }
