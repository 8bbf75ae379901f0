"""A cgroup's path as the value of a label: of bounded length, and never that of another one."""

from hashlib import sha256

MOST_BYTES = 256
"""As the text formats write it. Paths that container engines and service managers make have some 180."""
_TAIL_BYTES = 96
_HASH_DIGITS = 32
_ESCAPED = '\\"\n'
"""Each takes two bytes in the text formats."""
_MOST_BYTES_OF_ONE = 4


def label_of(path: str) -> str:
    """The path; of one that is too long its begin, a hash of all of it, and its end: `/a/b//HASH//y/z`. No
    path has `//` within, so that it cannot be that of a short one."""
    if len(path) * _MOST_BYTES_OF_ONE <= MOST_BYTES or size(path) <= MOST_BYTES:
        return path
    mark = f"//{sha256(path.encode(errors='surrogatepass')).hexdigest()[:_HASH_DIGITS]}//"
    head = _first(path, MOST_BYTES - len(mark) - _TAIL_BYTES)
    return f"{head}{mark}{_first(path[::-1], _TAIL_BYTES)[::-1]}"


def size(value: str) -> int:
    """Bytes that a label's value takes."""
    return len(value.encode(errors="surrogatepass")) + sum(map(value.count, _ESCAPED))


def _first(text: str, most: int) -> str:
    """The longest begin of so many bytes at most."""
    cut = text[:most]
    while size(cut) > most:
        cut = cut[:-1]
    return cut
