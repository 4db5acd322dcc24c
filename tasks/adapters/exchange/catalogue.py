"""What is known of each exchange: its class in ccxt, its limits as documented, and where its answers hold what is wanted.

The limits are those of November 2026. Each exchange is asked more slowly than it allows: requests arrive closer together
than they were sent, and what else this machine asks of the exchange counts as well.

What does not belong here: how a question is sent and waited for (speaker.py, ccxt_exchange.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Tree = dict[str, Any]
"""A JSON object as it came."""
MARKET: Final = "<market>"


@dataclass(frozen=True)
class Listing:
    """One exchange.

    Attributes:
        name: as in the configuration, which is the name of ccxt's class.
        page_bars: most bars of one answer.
        newest_bars: it serves no more than so many of its newest bars, the unfinished one among them, and cannot be told
            where to end; None: all, and it can.
        requests_per_second: what it is asked at most, by all processes of this machine together.
        cool_down_seconds: how long it is left alone when it says "too many" without saying for how long.
        markets: its spot markets as ccxt describes them, by one request.
        time_ms: its clock, by one request.
        clock_step_ms: the unit in which it tells its time.
        rows_at: the keys under which an answer holds its bars; MARKET stands for the name of the market there.
        options: for ccxt's class.
        headers: sent with every request.
    """

    name: str
    page_bars: int
    newest_bars: int | None
    requests_per_second: float
    cool_down_seconds: float
    markets: Callable[[Any], list[Tree]]
    time_ms: Callable[[Any], int]
    clock_step_ms: int
    rows_at: tuple[str, ...]
    options: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def _all_markets(api: Any) -> list[Tree]:
    markets: list[Tree] = api.fetch_markets()
    return markets


def _coinbase_markets(api: Any) -> list[Tree]:
    """Spot only: ccxt's own way asks for two kinds of futures besides, and takes an answer without products for none."""
    answer = api.v3PublicGetBrokerageMarketProducts({"product_type": "SPOT"})
    return [api.parse_spot_market(product, {}) for product in answer["products"]]


_SPOT_ONLY: Final = {"fetchMarkets": {"types": ["spot"]}}

COINBASE: Final = Listing(
    name="coinbase",
    page_bars=300,  # 350 by the documentation of Get Public Product Candles; ccxt asks for 300 and no more
    newest_bars=None,
    # 10 a second for an address: docs.cdp.coinbase.com, Advanced Trade REST API Rate Limits, public endpoints
    requests_per_second=9.0,
    cool_down_seconds=1.0,
    markets=_coinbase_markets,
    time_ms=lambda api: int(api.v3PublicGetBrokerageTime()["epochMillis"]),  # ccxt's fetch_time gives whole seconds
    clock_step_ms=1,
    rows_at=("candles",),
    # Public answers come from a cache of one second, by the same documentation: a minute that just closed would be served
    # as it was before its end.
    headers={"Cache-Control": "no-cache"},
)
BINANCE: Final = Listing(
    name="binance",
    page_bars=1000,
    newest_bars=None,
    # Weights of 6,000 a minute for an address, and a page of klines weighs 2: developers.binance.com, Spot REST API, Limits
    # and Kline data. Half of it, as weights are shared with a bot that trades from the same address.
    requests_per_second=25.0,
    cool_down_seconds=60.0,  # weights are counted by the minute; who goes on is banned for minutes to days
    markets=_all_markets,
    time_ms=lambda api: int(api.publicGetTime()["serverTime"]),
    clock_step_ms=1,
    rows_at=(),
    options={**_SPOT_ONLY, "fetchMargins": False},
)
KRAKEN: Final = Listing(
    name="kraken",
    page_bars=720,
    newest_bars=720,
    # About 1 a second for an address: docs.kraken.com, Spot REST Rate Limits, public endpoints
    requests_per_second=0.9,
    cool_down_seconds=15.0,
    markets=_all_markets,
    time_ms=lambda api: 1000 * int(api.publicGetTime()["result"]["unixtime"]),
    clock_step_ms=1000,
    rows_at=("result", MARKET),
)
BYBIT: Final = Listing(
    name="bybit",
    page_bars=1000,
    newest_bars=None,
    # 600 in 5 seconds for an address: bybit-exchange.github.io/docs/v5/rate-limit, HTTP IP limit
    requests_per_second=25.0,
    cool_down_seconds=5.0,
    markets=_all_markets,
    time_ms=lambda api: int(api.publicGetV5MarketTime()["result"]["timeNano"]) // 1_000_000,
    clock_step_ms=1,
    rows_at=("result", "list"),
    options=_SPOT_ONLY,
)
CATALOGUE: Final[Mapping[str, Listing]] = {listing.name: listing for listing in (COINBASE, BINANCE, KRAKEN, BYBIT)}
