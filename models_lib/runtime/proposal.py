"""From an intent to a signal: the market at the bar, what moved the prediction, and the words that the bundle carries.

What does not belong here: whether anything is said (decide.py), levels, sizes and words (models_lib.signals).
"""

from models_lib.candles.schema import BAR_MS
from models_lib.config.serving_sections import SignalsSection
from models_lib.runtime.bars import Bar, BarWindow
from models_lib.runtime.decide import Intent
from models_lib.runtime.explain import most_moving
from models_lib.runtime.refusal import Refusal, RefusalKind
from models_lib.runtime.serving import Prediction, ServedModel
from models_lib.signals import Signal, Unsized, build_signal, market_of
from models_lib.signals.reasons import MARKET_BARS

_UNNUMBERED = 1
"""The state gives the number when it records the signal; a signal is valid only with one."""


def propose(
    intent: Intent,
    prediction: Prediction,
    bar: Bar,
    window: BarWindow,
    model: ServedModel,
    *,
    settings: SignalsSection,
) -> Signal | Refusal:
    """The signal, not numbered yet; or why no position can be sized.

    Args:
        intent: decided on.
        prediction: that it comes from.
        bar: the newest of the window.
        window: of the symbol.
        model: that predicted.
        settings: of the host.
    """
    bundle = model.bundle
    answer = build_signal(
        number=_UNNUMBERED,
        symbol=bundle.manifest.symbol,
        direction=intent.direction,
        probabilities=prediction.probabilities,
        bar_at=bar.opens_at,
        market=market_of(
            bar.open_ms // BAR_MS, window.newest(MARKET_BARS), volatility_minutes=settings.volatility_minutes
        ),
        label=bundle.manifest.label.section,
        bundle=bundle.hash,
        simulated=bundle.manifest.simulated_market is not None,
        words=bundle.facts.words if bundle.facts is not None else (),
        moved_by=most_moving(bundle, prediction, class_index=prediction.likeliest),
        settings=settings,
    )
    return Refusal(RefusalKind.SIZING, answer.reason) if isinstance(answer, Unsized) else answer
