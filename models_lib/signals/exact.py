"""Decimal arithmetic for prices, sizes and amounts: what is added, multiplied or rounded to a step stays exact.

What does not belong here: what is computed with it (sizing.py, build.py).
"""

from decimal import Context, Decimal
from typing import Final

EXACT: Final = Context(prec=60)
"""Digits for a product of three doubles of 17 digits each; code that calculates enters it with `localcontext`."""


def decimal_of(number: float) -> Decimal:
    """The decimal that the number is written as: 0.1 is 0.1, not the binary fraction next to it."""
    return Decimal(repr(number))


def floor_to(value: Decimal, step: Decimal) -> Decimal:
    """The largest multiple of `step` that is not above the value, also below zero."""
    above = value % step
    return (value - above - (step if above < 0 else 0)).quantize(step)


def plain(value: Decimal) -> Decimal:
    """The same number without trailing zeros and without an exponent above 0: 100, not 100.00 or 1E+2."""
    short = value.normalize()
    exponent = short.as_tuple().exponent
    return short.quantize(Decimal(1)) if isinstance(exponent, int) and exponent > 0 else short
