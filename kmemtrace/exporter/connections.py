"""Decides which connections may stay: whoever comes gets in, and those go that kept us waiting longest.

A connection waits for us while we make its answer; all other time we wait for it: to ask, to ask again, or to
take its answer. Refusing newcomers when all places are taken would let a few hundred silent peers lock
everybody out, and peers on this machine all have one address. So a newcomer takes the place of the one that
we have waited for longest, of the address with most connections. Whoever asks at once and reads what comes is
never the one.
"""

import functools
import ipaddress
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

MOST_CONNECTIONS = 2048
"""Most connections that are open. Each is a file descriptor and some 8 KB of memory. They are many, for those
who hang on come back at once when they have to make room, and then cost a processor's time instead of
memory."""
_FEWEST = 8
_FREE_DESCRIPTORS = 64
"""Descriptors that are left to the tracer, which takes some to look up names."""
_OF_ONE_ADDRESS = 0.75
"""Share of the places that one address may have. The rest is there for others, such as the kubelet that asks
/healthz."""
_IPV6_NETWORK_BITS = 64
"""Bits of the network that one host may have for its own, and take any number of addresses from."""


@dataclass(eq=False, slots=True)
class Peer:
    """One connection."""

    address: str
    """Its address, as address_of() says."""
    end: Callable[[], None]
    since: float = 0.0
    """When we began to wait for it. `patience` is for how many seconds we are to."""
    patience: float = 0.0


@dataclass(slots=True)
class _Group:
    """The connections of one address."""

    waiting: dict[Peer, None] = field(default_factory=dict)
    """Connections that we wait for, those that we have waited for longest first."""
    working: set[Peer] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.waiting) + len(self.working)


class Room:
    """Has places for so many connections in all, and for most of these of one address."""

    def __init__(self, most: int) -> None:
        self._most, self._most_of_one = most, max(1, int(most * _OF_ONE_ADDRESS))
        self._groups: dict[str, _Group] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def enter(self, address: str, end: Callable[[], None], patience: float) -> Peer | None:
        """Gives a newcomer a place; we wait for it from now on.

        Args:
            address: Where it comes from, as address_of() says.
            end: Called when it has to make room, or when it has kept us waiting too long.
            patience: How many seconds it may keep us waiting.

        Returns:
            The place; None where all others wait for us, or are of addresses that have fewer places.
        """
        own = self._groups.get(address, _Group())
        if (len(own) >= self._most_of_one and not self._make_room([own])) or (
            self._count >= self._most and not self.make_room(at_least=len(own))
        ):
            return None
        peer = Peer(address, end)
        self._groups.setdefault(address, own)
        self._count += 1
        self._wait_for(peer, patience)
        return peer

    def make_room(self, at_least: int = 0) -> bool:
        """Ends a connection of the address that has most, of those that have at least so many."""
        groups = [group for group in self._groups.values() if len(group) >= at_least]
        return self._make_room(sorted(groups, key=len, reverse=True))

    def works(self, peer: Peer) -> bool:
        """Says that a peer waits for us from now on, and stays; False where it has been ended."""
        group = self._groups.get(peer.address)
        if group is None or peer not in group.waiting:
            return False
        del group.waiting[peer]
        group.working.add(peer)
        return True

    def waits(self, peer: Peer, patience: float) -> None:
        """Says that we wait for a peer from now on, for so many seconds."""
        group = self._groups.get(peer.address)
        if group is not None and (peer in group.waiting or peer in group.working):
            group.working.discard(peer)
            group.waiting.pop(peer, None)
            self._wait_for(peer, patience)

    def leave(self, peer: Peer) -> None:
        """Says that a peer has ended, or is to end; it may be said more than once."""
        group = self._groups.get(peer.address)
        if group is None or (peer not in group.waiting and peer not in group.working):
            return
        group.waiting.pop(peer, None)
        group.working.discard(peer)
        self._count -= 1
        if not group:
            del self._groups[peer.address]

    def end(self, peer: Peer) -> None:
        self.leave(peer)
        peer.end()

    def end_overdue(self) -> int:
        """Ends those that have kept us waiting too long, and returns how many they were."""
        now = time.monotonic()
        late = [p for g in self._groups.values() for p in g.waiting if now - p.since >= p.patience]
        for peer in late:
            self.end(peer)
        return len(late)

    def end_all(self) -> None:
        for peer in [p for g in self._groups.values() for p in (*g.waiting, *g.working)]:
            self.end(peer)

    def _wait_for(self, peer: Peer, patience: float) -> None:
        peer.since, peer.patience = time.monotonic(), patience
        self._groups[peer.address].waiting[peer] = None

    def _make_room(self, groups: list[_Group]) -> bool:
        for group in groups:
            if group.waiting:
                self.end(next(iter(group.waiting)))
                return True
        return False


@functools.lru_cache(maxsize=4096)
def address_of(host: str) -> str:
    """Returns of an IP address what one host cannot change at will: of IPv6 its network."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, _IPV6_NETWORK_BITS), strict=False))


def room_for_connections() -> int:
    """Returns how many connections this process may have open.

    That follows from its limit of file descriptors, which is raised as far as it may be, and what it has open
    already.
    """
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MOST_CONNECTIONS
    if limit < wanted:
        limit = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))
    free = limit - sum(1 for _ in Path("/proc/self/fd").iterdir()) - _FREE_DESCRIPTORS
    return max(_FEWEST, min(MOST_CONNECTIONS, free))
