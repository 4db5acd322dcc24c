"""A signal in words, for a terminal and for Slack: plain text with the facts of its JSON, and none besides.

Levels, sizes and ratios are printed digit by digit, the close with as many digits as they have; amounts of money are
rounded to cents or to four digits, times are in the zone of the reader.

What does not belong here: figures that the signal does not have.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal, localcontext

from models_lib.config.serving_sections import zone_of
from models_lib.signals.exact import EXACT
from models_lib.signals.signal import Signal


def signal_text(signal: Signal, *, time_zone: str) -> str:
    """The signal as lines of text.

    Args:
        signal: what is said.
        time_zone: IANA name of the zone in which times are printed; UTC where this machine does not know it, and every
            time names its zone.
    """
    return "\n".join(_lines(signal, time_zone))


def money_text(amount: Decimal) -> str:
    """An amount with thousands separators: cents, or four digits below 1."""
    if amount >= 1 or not amount:
        return f"{amount:,.2f}"
    return f"{amount:.{3 - amount.adjusted()}f}"


def _lines(signal: Signal, time_zone: str) -> Iterator[str]:
    base, currency = signal.symbol.partition("-")[0], signal.currency
    enter, leave = ("BUY", "SELL") if signal.direction == "LONG" else ("SELL", "BUY")
    down, neutral, up = signal.probabilities
    life = (signal.expires_at - signal.issued_at).total_seconds() / 60.0
    yield f"*Signal {signal.number}: {signal.symbol} {signal.direction} {_share(signal.confidence)}*"
    yield f"Claim: {signal.claim}, no more"
    yield f"Probabilities: DOWN {_share(down)}, NEUTRAL {_share(neutral)}, UP {_share(up)}"
    yield (
        f"Price: {_to_the_step(signal.price, signal.entry):,f} {currency}, bar {_time(signal.bar_at, time_zone)}, "
        f"issued at its close {_time(signal.issued_at, time_zone)}"
    )
    yield (
        f"Entry: {signal.order_type} {enter} {signal.entry:,f}, entry range {signal.entry_low:,f}-{signal.entry_high:,f}"
    )
    yield f"Stop: {signal.stop:,f} ({signal.stop_percent:f} % from the entry)"
    yield (
        f"Target: {signal.order_type} {leave} {signal.target:,f} ({signal.target_percent:f} % from the entry), risk:reward "
        f"1:{signal.risk_reward_best:f}; 1:{signal.risk_reward:f} at the worst fill {signal.worst_entry:,f}"
    )
    yield (
        f"Account: {money_text(signal.account_balance)} {currency}, risk {signal.risk_percent:f} % = "
        f"{money_text(signal.risk_amount)} {currency}, leverage {signal.leverage}x"
    )
    yield (
        f"Size: {signal.size:f} {base} for any fill of the range, worth {money_text(signal.notional)} {currency}, at risk "
        f"{money_text(signal.risk_at_worst)} {currency}; {signal.size_best:f} {base} only if the fill at {signal.entry:,f} is certain"
    )
    yield f"Expires: after {life:g} minutes, {_time(signal.expires_at, time_zone)}"
    yield from (f"- {reason}" for reason in signal.reasons)
    if signal.moved_by:
        yield "Moved most by: " + ", ".join(f"{name} ({change:+.3f})" for name, change in signal.moved_by)
    yield from (f"Mind: {caveat}" for caveat in signal.caveats)
    yield f"Bundle: {signal.bundle}, {'simulated' if signal.simulated else 'real'} market"
    yield "It places no order."


def _to_the_step(price: Decimal, level: Decimal) -> Decimal:
    """The close of a simulated market has no step of its own."""
    with localcontext(EXACT):
        return price.quantize(level)


def _share(probability: float) -> str:
    return f"{100.0 * probability:.1f} %"


def _time(moment: datetime, time_zone: str) -> str:
    try:
        zone = zone_of(time_zone)
    except ValueError:  # a slim host without a data base of zones must still speak
        zone = UTC
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M %Z}"
