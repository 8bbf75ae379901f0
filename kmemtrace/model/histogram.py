"""Defines log2 histograms of durations, as the BPF programs count them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

FIRST_LE_NS = 1 << 10
"""Upper bound of the first bucket: 1.024 µs. Each further bucket's is twice the one before."""

BUCKETS = 36
"""How many buckets there are. The last is open; the one before it ends at 2**44 ns, about 4.9 hours."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Durations counted in BUCKETS log2 buckets, and their sum in nanoseconds.

    `counts[i]` holds durations d with d < FIRST_LE_NS << i and not in an earlier bucket.
    """

    counts: tuple[int, ...]
    sum_ns: int

    def __post_init__(self) -> None:
        if len(self.counts) != BUCKETS:
            raise ValueError(f"a histogram has {BUCKETS} buckets, not {len(self.counts)}")

    @classmethod
    def empty(cls) -> "Histogram":
        return cls((0,) * BUCKETS, 0)

    @classmethod
    def of(cls, durations_ns: Sequence[int]) -> "Histogram":
        counts = [0] * BUCKETS
        for duration in durations_ns:
            counts[bucket(duration)] += 1
        return cls(tuple(counts), sum(durations_ns))

    @property
    def count(self) -> int:
        return sum(self.counts)

    def __add__(self, other: "Histogram") -> "Histogram":
        return Histogram(
            tuple(a + b for a, b in zip(self.counts, other.counts, strict=True)),
            self.sum_ns + other.sum_ns,
        )

    def __sub__(self, earlier: "Histogram") -> "Histogram":
        """Returns what was counted since `earlier`, a histogram of the same thing."""
        return Histogram(
            tuple(a - b for a, b in zip(self.counts, earlier.counts, strict=True)),
            self.sum_ns - earlier.sum_ns,
        )

    def quantile_seconds(self, q: float) -> float | None:
        """Tells in which bucket the q-quantile is.

        Returns:
            The bucket's upper bound in seconds; None when the histogram is empty; `inf` for the last bucket,
            which is open.

        Raises:
            ValueError: `q` is not between 0 and 1.
        """
        if not 0.0 <= q <= 1.0:
            raise ValueError(f"a quantile lies between 0 and 1, not at {q}")
        if self.count == 0:
            return None
        rank, seen = max(1, -(-self.count * q // 1)), 0
        for i, n in enumerate(self.counts):
            seen += n
            if seen >= rank:
                return upper_bound_seconds(i)
        raise AssertionError("the counts of a histogram add up to its count")

    def to_json(self) -> dict[str, object]:
        """Returns it as JSON types.

        `buckets` are cumulative and end at the first that holds everything, then +Inf. `sum_ns` is the sum to
        the nanosecond, which `sum_seconds` is not beyond some hundred days.
        """
        buckets: list[list[object]] = []
        seen = 0
        for i, n in enumerate(self.counts[:-1]):
            seen += n
            buckets.append([upper_bound_seconds(i), seen])
            if seen == self.count:
                break
        buckets.append(["+Inf", self.count])
        sums = {"sum_seconds": self.sum_ns / 1e9, "sum_ns": self.sum_ns}
        return {"count": self.count, **sums, "buckets": buckets}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "Histogram":
        """Returns the histogram that to_json() told of.

        Raises:
            ValueError: It is not as that writes it.
        """
        try:
            reached = [int(n) for _, n in told["buckets"]]
            sum_ns = int(told["sum_ns"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"no histogram of ours: {error!r}") from None
        counts = [after - before for before, after in pairwise([0, *reached])]
        return cls((*counts[:-1], *[0] * (BUCKETS - len(counts)), counts[-1]), sum_ns)


SHIFT = FIRST_LE_NS.bit_length() - 1


def bucket(duration_ns: int) -> int:
    """Returns the index of the bucket that counts `duration_ns`; the C side computes the same."""
    return max(0, min(duration_ns.bit_length() - SHIFT, BUCKETS - 1))


def upper_bound_seconds(index: int) -> float:
    return float("inf") if index >= BUCKETS - 1 else (FIRST_LE_NS << index) / 1e9
