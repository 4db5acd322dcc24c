"""What a new release may do and still stay: limits on the first answers, the same for the rehearsal and the live watch.

A share is judged only from so many answers on that an honest model cannot break its limit by chance: minutes that follow
each other are alike.

What does not belong here: putting anything back (transaction.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from models_lib.config.targets import WatchSection
from models_lib.runtime.health import SymbolHealth
from models_lib.runtime.refusal import RefusalKind

_LEAST_OVER_99 = 3
"""So many answers above 99 % at least: one such minute among the first five proves nothing."""


@dataclass(frozen=True)
class Answers:
    """What a model did.

    Attributes:
        predictions: rows answered.
        over_99: of them with a confidence above 0.99.
        classes: predictions by class.
        non_finite: rows without a finite answer.
        errors: bars that ended in an error; trouble of the source or of a shadow says nothing about the model.
        latency_ms: median time a bar; None when none was timed.
        bar_age_seconds: age of the newest bar; None where it says nothing, as in a rehearsal.
    """

    predictions: int
    over_99: int
    classes: Mapping[str, int]
    non_finite: int
    errors: int
    latency_ms: float | None
    bar_age_seconds: float | None

    def sentence(self) -> str:
        """For people."""
        shares = " ".join(f"{name} {count / self.predictions:.0%}" for name, count in self.classes.items() if count)
        latency = f", {self.latency_ms:.1f} ms a bar" if self.latency_ms is not None else ""
        return f"{self.predictions} answers: {shares or 'none'}, {self.over_99} above 99 %{latency}"


def answers_of(health: SymbolHealth, *, live: bool) -> Answers:
    """What the runtime reports of a symbol since it started."""
    return Answers(
        predictions=health.predictions,
        over_99=health.over_99,
        classes={str(name): count for name, count in health.classes.items()},
        non_finite=health.non_finite,
        errors=health.refusals.get(RefusalKind.ERROR, 0),
        latency_ms=health.latency_ms.median,
        bar_age_seconds=health.bar_age_seconds if live else None,
    )


def breach(answers: Answers, limits: WatchSection) -> str | None:
    """The first limit that is broken, with its figure; None when all hold."""
    if answers.non_finite > limits.max_non_finite:
        return f"{answers.non_finite} answers are not finite (at most {limits.max_non_finite} allowed)"
    if answers.errors > limits.max_errors:
        return f"{answers.errors} bars ended in an error (at most {limits.max_errors} allowed)"
    if answers.over_99 >= _LEAST_OVER_99 and answers.over_99 > limits.max_share_over_99 * answers.predictions:
        share = answers.over_99 / answers.predictions
        limit = f"at most {limits.max_share_over_99:.0%} allowed"
        return f"{share:.1%} of {answers.predictions} answers are above 99 % confidence ({limit})"
    return _class_breach(answers, limits) or _pace_breach(answers, limits)


def _class_breach(answers: Answers, limits: WatchSection) -> str | None:
    if answers.predictions < limits.class_shares_from:
        return None
    for name, count in answers.classes.items():
        share = count / answers.predictions
        if not limits.class_share_low <= share <= limits.class_share_high:
            allowed = f"{limits.class_share_low:.0%} to {limits.class_share_high:.0%} allowed"
            return f"{name} is {share:.1%} of {answers.predictions} answers ({allowed})"
    return None


def _pace_breach(answers: Answers, limits: WatchSection) -> str | None:
    latency, age = answers.latency_ms, answers.bar_age_seconds
    if latency is not None and latency > limits.max_latency_ms:
        return f"a bar takes {latency:.0f} ms (at most {limits.max_latency_ms:g} ms allowed)"
    if age is not None and age > limits.max_bar_age_seconds:
        return f"the newest bar is {age:.0f} s old (at most {limits.max_bar_age_seconds:g} s allowed)"
    return None
