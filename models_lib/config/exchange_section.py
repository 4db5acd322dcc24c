"""Which exchange candles are asked of, how, and what is alarming about its answers.

The trading host reads it as well: its live feed asks the same way.

What does not belong here: where fetched candles are kept (DataSection) and what must be true before they are used.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models_lib.config.section import PositiveFloat, Section
from models_lib.config.sections import SymbolName

ExchangeName = Literal["coinbase", "binance", "kraken", "bybit"]
MarketName = Annotated[str, Field(pattern=r"^[A-Z0-9]{1,15}/[A-Z0-9]{1,10}$")]
"""As ccxt writes a spot market: BTC/USDT."""
BaseUrl = Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.:\[\]-]+$", max_length=200)]


class ExchangeSection(Section):
    """Public candles of one exchange; no account is needed."""

    name: ExchangeName = "coinbase"
    """Whose candles. Kraken serves only its newest 720 minutes: good for a live feed, not for a training."""
    markets: dict[SymbolName, MarketName] = Field(default_factory=dict)
    """Symbol -> market, where they differ: {BTC-USD: BTC/USDT}. A symbol that is not named is its own market, BTC/USD."""
    second: ExchangeName | None = None
    """Another exchange whose newest day is held against the first one's; null: none is asked."""
    second_markets: dict[SymbolName, MarketName] = Field(default_factory=dict)
    """The same as `markets`, for the second exchange."""
    base_url: BaseUrl | None = None
    """Where the exchange answers instead of its own address, as a mirror or a proxy does; null: its own."""
    second_base_url: BaseUrl | None = None
    """The same for the second exchange."""
    connections: Annotated[int, Field(ge=1, le=16)] = 4
    """Requests under way at once; the exchange's rate holds for all of them together."""
    requests_per_second: Annotated[float, Field(gt=0.0, le=1000.0)] | None = None
    """Highest rate of requests of this machine; null: somewhat less than the exchange documents for public data."""
    request_timeout_seconds: Annotated[float, Field(gt=0.0, le=120.0)] = 10.0
    """How long one answer may take."""
    patience_minutes: PositiveFloat = 10.0
    """How long an exchange that gives no usable answer is asked again before the fetch gives up."""
    revise_minutes: Annotated[int, Field(ge=0, le=1440)] = 10
    """So many of the newest stored minutes are asked for again by each fetch; what the exchange corrected there is taken over."""
    outage_minutes: Annotated[int, Field(ge=2)] = 60
    """A hole of at least so many minutes is called an outage, a shorter one minutes without trades."""
    hole_nights: Annotated[int, Field(ge=0, le=60)] = 7
    """On so many later days a hole is asked for again."""
    max_median_deviation_bp: PositiveFloat = 10.0
    """Alarm when the closes of both exchanges differ by more in the median, in basis points."""
    max_worst_deviation_bp: PositiveFloat = 200.0
    """Alarm when they differ by more in any minute, in basis points."""
    max_stuck_minutes: Annotated[int, Field(ge=2)] = 30
    """Alarm when so many traded minutes in a row have one and the same price."""
    max_jump_bp: PositiveFloat = 1_000.0
    """Alarm when a close is further from the close of the minute before, in basis points; the bar is kept."""

    @model_validator(mode="after")
    def _second_is_another(self) -> Self:
        if self.second == self.name:
            raise ValueError(f"exchange.second must be another exchange than exchange.name, was {self.second} for both")
        if self.second is None and (self.second_markets or self.second_base_url):
            raise ValueError(
                "exchange.second_markets and exchange.second_base_url are only for exchange.second; set it"
            )
        return self

    def market(self, symbol: str, *, of_second: bool = False) -> str:
        """The market of `symbol` as ccxt names it, such as BTC/USDT."""
        named = self.second_markets if of_second else self.markets
        return named.get(symbol) or symbol.replace("-", "/")
