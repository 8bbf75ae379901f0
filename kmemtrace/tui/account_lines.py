"""Tells a row's account in the drill-down: a line of its parts, and one for each of its largest caches."""

from kmemtrace import text
from kmemtrace.model.account import Account, CacheUse, CensusInfo
from kmemtrace.model.unseen import Unseen

_NAMES = {
    "pages": "pages",
    "slab": "slab",
    "percpu": "per-CPU",
    "zswap": "compressed swap",
    "stock": "charged ahead",
}
_MOST_CACHES = 5


def account_lines(account: Account | None, census: CensusInfo | None, width: int) -> list[str]:
    """Returns the lines of an account, none where there is no account; parts that were not read are named."""
    if account is None or census is None:
        return []
    more = len(account.caches) - _MOST_CACHES
    return [
        text.fitted(_parts(account, census), width),
        *([text.cut(_sockets(account.sock_bytes), width)] if account.sock_bytes else []),
        *(text.cut(_cache(use), width) for use in account.caches[:_MOST_CACHES]),
        *([f"{'':9}and {more} more caches"] if more > 0 else []),
    ]


def _parts(account: Account, census: CensusInfo) -> list[tuple[int, str]]:
    kernel, unexplained = account.kernel_bytes, account.unexplained_bytes
    known = [(part, size) for part, size in account.parts.items() if size]
    unread = [part for part in census.unseen if part is not Unseen.SOCKETS or account.sock_bytes is None]
    return [
        (100, f"kernel {text.NOTHING if kernel is None else text.size(kernel)}"),
        *((90 - at, f"{_NAMES[part]} {text.size(size)}") for at, (part, size) in enumerate(known)),
        (95, "" if unexplained is None else f"unexplained {text.size(unexplained)}"),
        *((80, f"{part} not read") for part in unread),
        (70, f"{text.duration(census.age_seconds)} ago"),
    ]


def _sockets(size: int) -> str:
    return f"{text.size(size):>7}  sockets' buffers, which are not in the kernel's sum"


def _cache(use: CacheUse) -> str:
    mark = ", reclaimable" if use.reclaimable else ""
    return f"{text.size(use.bytes):>7}  {use.cache} ({text.count(use.objects)} objects{mark})"
