"""Does basic authentication: finds out who has a right password, at a bounded cost.

A password costs a tenth of a second or more to check: bcrypt is slow on purpose. So one that was right is
remembered and never waits; one that was wrong is remembered too; and of those that are new few may wait, and
fewer of one address.
"""

import asyncio
import base64
import binascii
import hmac
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, auto
from hashlib import sha256
from typing import NamedTuple

import bcrypt

_MOST_REMEMBERED = 1024
"""How many passwords are remembered of the right ones, and of the wrong ones."""
MOST_WAITING = 16
MOST_OF_ONE_ADDRESS = 8
_BCRYPT_BYTES = 72
"""Bytes of a password that bcrypt takes; it refuses longer ones."""


class Verdict(Enum):
    ADMITTED = auto()
    REFUSED = auto()
    BUSY = auto()
    """Too many wait already: it is not known whether the password is right."""


class Pair(NamedTuple):
    user: str
    password: str


class Users:
    """Names and bcrypt hashes of one configuration, and what was found out about passwords under it."""

    def __init__(self, hashes: Mapping[str, str]) -> None:
        self._hashes = {name: one.encode() for name, one in hashes.items()}
        self._highest_cost = max(map(_cost, self._hashes.values()), default=0)
        self._key = secrets.token_bytes(32)
        self._right, self._wrong = _Memory(), _Memory()

    def __len__(self) -> int:
        return len(self._hashes)

    def digest(self, pair: Pair) -> bytes:
        """Returns what stands for a pair in memory: an HMAC under a key that nobody else has."""
        text = f"{len(pair.user)} {pair.user}{pair.password}"
        return hmac.digest(self._key, text.encode(), sha256().name)

    def remembered(self, digest: bytes) -> bool | None:
        """Returns whether a pair was right; None where it is not known."""
        if digest in self._right:
            return True
        return False if digest in self._wrong else None

    def remember(self, digest: bytes, *, right: bool) -> None:
        (self._right if right else self._wrong).add(digest)

    def check(self, pair: Pair) -> bool:
        """Checks a password, which takes long.

        What is wrong takes equally long for every name, known or not: as long as the costliest hash. One of
        cost n takes 2^n rounds, and n, n, n + 1, ... m - 1 together those of m.
        """
        password = pair.password.encode()[:_BCRYPT_BYTES]
        known = self._hashes.get(pair.user)
        spent = self._highest_cost if known is None else _cost(known)
        right = bcrypt.checkpw(password, known or _nobodys(spent))
        if known is not None and right:
            return True
        for cost in range(spent, self._highest_cost):
            bcrypt.checkpw(password, _nobodys(cost))
        return False


class _Memory:
    """Keeps the digests that came last, so many of them."""

    def __init__(self) -> None:
        self._digests: OrderedDict[bytes, None] = OrderedDict()

    def __contains__(self, digest: bytes) -> bool:
        if digest not in self._digests:
            return False
        self._digests.move_to_end(digest)
        return True

    def add(self, digest: bytes) -> None:
        self._digests[digest] = None
        if len(self._digests) > _MOST_REMEMBERED:
            self._digests.popitem(last=False)


class Admission:
    """Admits or refuses, for one event loop; what takes long is done in a thread, one at a time."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "passwords")
        self._under_way: dict[bytes, asyncio.Future[bool]] = {}
        self._of_address: Counter[str] = Counter()

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def verdict(self, users: Users, header: str, address: str) -> Verdict:
        """Judges a header Authorization.

        Args:
            users: Who has which password.
            header: The header's value.
            address: Where it came from, as address_of() says.
        """
        pair = credentials(header)
        if pair is None:
            return Verdict.REFUSED
        digest = users.digest(pair)
        right = users.remembered(digest)
        if right is None:
            if digest not in self._under_way and not self._may_wait(address):
                return Verdict.BUSY
            right = await self._check(users, pair, digest, address)
        return Verdict.ADMITTED if right else Verdict.REFUSED

    def _may_wait(self, address: str) -> bool:
        return len(self._under_way) < MOST_WAITING and self._of_address[address] < MOST_OF_ONE_ADDRESS

    async def _check(self, users: Users, pair: Pair, digest: bytes, address: str) -> bool:
        """Checks a password; those who ask the same at the same time are told together."""
        if digest not in self._under_way:
            work = asyncio.get_running_loop().run_in_executor(self._thread, _check_and_rest, users, pair)
            self._under_way[digest] = work
            self._of_address[address] += 1

            def done(work: asyncio.Future[bool]) -> None:
                del self._under_way[digest]
                self._of_address[address] -= 1
                self._of_address += Counter()  # without those at 0
                if not work.cancelled() and work.exception() is None:
                    users.remember(digest, right=work.result())

            work.add_done_callback(done)
        return await asyncio.shield(self._under_way[digest])


def _check_and_rest(users: Users, pair: Pair) -> bool:
    """Checks a password, and after a wrong one rests for as long as that took.

    So those who guess get half of a processor.
    """
    begin = time.thread_time()
    right = users.check(pair)
    if not right:
        time.sleep(time.thread_time() - begin)
    return right


def credentials(header: str) -> Pair | None:
    """Returns user and password of a header Authorization; None where it is no basic authentication."""
    kind, _, rest = header.partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(rest.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return Pair(user, password) if colon else None


def _cost(of: bytes) -> int:
    return int(of.split(b"$")[2])


def _nobodys(cost: int) -> bytes:
    """Returns a hash that no password has, as far as anybody knows."""
    return b"$2b$%02d$%s" % (cost, b"." * 53)
