"""Student's distribution, as far as an interval of confidence needs it: no dependency of ours has it."""

import math
from functools import lru_cache

_MOST_T = 1e9


@lru_cache(1 << 10)
def quantile(outside: float, freedom: int) -> float:
    """Returns the t beyond which, on either side together, a part of the distribution lies.

    Args:
        outside: That part, such as 0.05.
        freedom: Degrees of freedom, from 1.
    """
    low, high = 0.0, 1.0
    while _outside(high, freedom) > outside and high < _MOST_T:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _outside(middle, freedom) > outside else (low, middle)
    return high


def _outside(t: float, freedom: int) -> float:
    """Returns the part beyond t on either side together (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine, cosine if freedom > 1 else 0.0) if odd else (1.0, 1.0)
    for k in range(2 + odd, freedom - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    inside = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return max(0.0, 1.0 - inside)
