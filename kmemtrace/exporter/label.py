"""Makes a cgroup's path the value of a label: of bounded length, and never that of another one."""

from hashlib import sha256

MOST_BYTES = 256
"""Most bytes of a value as the text formats write it. Paths that container engines and service managers make
have some 180."""
_TAIL_BYTES = 96
_HASH_DIGITS = 32
_ESCAPED = '\\"\n'
"""Characters that each take two bytes in the text formats."""
_MOST_BYTES_OF_ONE = 4


def label_of(path: str) -> str:
    """Returns the path, shortened if it is too long.

    A path that is too long becomes its begin, a hash of all of it, and its end: `/a/b//HASH//y/z`. No path
    has `//` within, so that it cannot be that of a short one.
    """
    if len(path) * _MOST_BYTES_OF_ONE <= MOST_BYTES or size(path) <= MOST_BYTES:
        return path
    mark = f"//{sha256(path.encode(errors='surrogatepass')).hexdigest()[:_HASH_DIGITS]}//"
    head = _first(path, MOST_BYTES - len(mark) - _TAIL_BYTES)
    return f"{head}{mark}{_first(path[::-1], _TAIL_BYTES)[::-1]}"


def size(value: str) -> int:
    """Returns the bytes that a label's value takes."""
    return len(value.encode(errors="surrogatepass")) + sum(map(value.count, _ESCAPED))


def _first(text: str, most: int) -> str:
    """Returns the longest begin of at most so many bytes."""
    cut = text[:most]
    while size(cut) > most:
        cut = cut[:-1]
    return cut
