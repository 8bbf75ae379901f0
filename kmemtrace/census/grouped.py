"""Adds up amounts that have the same keys."""

from collections.abc import Sequence

import numpy as np

from kmemtrace.census.memory import Words


def grouped(keys: Sequence[Words], amounts: Words) -> tuple[list[Words], Words]:
    """Adds up the amounts of each combination of keys.

    Args:
        keys: Parallel arrays, each as long as `amounts`.
        amounts: What is added up.

    Returns:
        The keys with each combination once, in their order, and the sum of each combination.
    """
    if not len(amounts):
        return list(keys), amounts
    order = np.lexsort(tuple(keys))
    keys = [key[order] for key in keys]
    differs = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    begins = np.flatnonzero(np.concatenate([[True], differs]))
    return [key[begins] for key in keys], np.add.reduceat(amounts[order], begins)
