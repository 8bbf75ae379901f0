"""Reads the next minutes while one is counted: decoding Parquet takes another CPU, and no lock of Python."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_AHEAD = 4
_One = TypeVar("_One")
_Read = TypeVar("_Read")


def read_ahead(all_: Iterable[_One], read: Callable[[_One], _Read]) -> Iterator[tuple[_One, _Read]]:
    """Yields each with what was read of it, in their order; an error of reading comes in its place."""
    with ThreadPoolExecutor(1) as reader:
        waiting: deque[tuple[_One, Future[_Read]]] = deque()
        try:
            for one in all_:
                waiting.append((one, reader.submit(read, one)))
                if len(waiting) > _AHEAD:
                    first, found = waiting.popleft()
                    yield first, found.result()
            while waiting:
                first, found = waiting.popleft()
                yield first, found.result()
        finally:
            reader.shutdown(cancel_futures=True)
