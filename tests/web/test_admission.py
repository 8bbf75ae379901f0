"""Passwords, right and wrong, by the hundred: a right one that is known waits for nobody."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import bcrypt
import pytest

from kmemtrace.exporter.admission import MOST_OF_ONE_ADDRESS, Pair, Users
from tests.web.conftest import Export, Exporter
from tests.web.test_server import USERS, Load, ask, basic, load

__all__ = ["load"]


@dataclass
class Hashing:
    """What is hashed, each of which can be held up."""

    go_on: threading.Event = field(default_factory=threading.Event)
    passwords: list[bytes] = field(default_factory=list)
    costs: list[int] = field(default_factory=list)


@pytest.fixture
def hashing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hashing]:
    found, check = Hashing(), bcrypt.checkpw
    found.go_on.set()

    def checkpw(password: bytes, hashed: bytes) -> bool:
        found.passwords.append(password)
        found.costs.append(int(hashed.split(b"$")[2]))
        found.go_on.wait()
        return check(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    yield found
    found.go_on.set()


def status(exporter: Exporter, user: str, password: str) -> int:
    return ask(exporter, headers=basic(user, password))[0].status


def test_a_right_one_waits_for_no_wrong_one(export: Export, load: Load, hashing: Hashing) -> None:
    """And of the wrong ones few wait; the others are told at once, and none of them what it was."""
    exporter = export(load(USERS))
    assert status(exporter, "ann", "sesame") == 200
    hashing.go_on.clear()
    with ThreadPoolExecutor(100) as pool:
        users = ("ann", "eve") * 50
        wrong = [pool.submit(status, exporter, user, f"open {i}") for i, user in enumerate(users)]
        while sum(one.done() for one in wrong) < 100 - MOST_OF_ONE_ADDRESS:
            assert status(exporter, "ann", "sesame") == 200
        assert status(exporter, "ann", "sesame") == 200
        hashing.go_on.set()
        answers = [one.result() for one in wrong]
    assert answers.count(401) == MOST_OF_ONE_ADDRESS
    assert answers.count(429) == 100 - MOST_OF_ONE_ADDRESS
    assert status(exporter, "ann", "open sesame") == 401, "there is room again"


def test_each_is_hashed_once(export: Export, load: Load, hashing: Hashing) -> None:
    exporter = export(load(USERS))
    for password, expected in (("sesame", 200), ("open", 401), ("sesame", 200), ("open", 401)):
        assert status(exporter, "ann", password) == expected
    assert hashing.passwords == [b"sesame", b"open"]


def test_those_who_ask_the_same_wait_together(export: Export, load: Load, hashing: Hashing) -> None:
    """As all of a server's targets do after a restart of the exporter."""
    exporter = export(load(USERS))
    hashing.go_on.clear()
    with ThreadPoolExecutor(50) as pool:
        answers = [pool.submit(status, exporter, "ann", "sesame") for _ in range(50)]
        while exporter.server.connections < 50:
            pass
        hashing.go_on.set()
        assert {one.result() for one in answers} == {200}
    assert hashing.passwords == [b"sesame"]


def test_a_new_configuration_forgets(export: Export, load: Load) -> None:
    exporter = export(load(USERS))
    assert status(exporter, "ann", "sesame") == 200
    exporter.server.reconfigure(load(USERS.replace("ann", "bob")))
    assert status(exporter, "ann", "sesame") == 401
    assert status(exporter, "bob", "sesame") == 200


def test_what_was_found_out_under_another_configuration_does_not_hold(
    export: Export, load: Load, hashing: Hashing
) -> None:
    exporter = export(load(USERS))
    hashing.go_on.clear()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(status, exporter, "ann", "sesame")
        while not hashing.passwords:
            pass
        exporter.server.reconfigure(load(USERS.replace("ann", "bob")))
        hashing.go_on.set()
        assert answer.result() == 429


@pytest.mark.parametrize("name", ["ann", "bob", "eve", ""])
def test_all_names_take_the_same_time(hashing: Hashing, name: str) -> None:
    """As many rounds of bcrypt, whose time these are: 2 to the cost."""
    hashes = {n: bcrypt.hashpw(b"x", bcrypt.gensalt(cost)).decode() for n, cost in (("ann", 4), ("bob", 7))}
    users = Users(hashes)
    assert not users.check(Pair(name, "open"))
    assert sum(1 << cost for cost in hashing.costs) == 1 << 7


def test_memory_of_passwords_is_bounded(export: Export, load: Load) -> None:
    """And a right one is not driven out of it by wrong ones."""
    users = load(USERS).users
    users.remember(users.digest(Pair("ann", "sesame")), right=True)
    for number in range(10_000):
        users.remember(users.digest(Pair("eve", str(number))), right=False)
    known = [users.remembered(users.digest(Pair("eve", str(number)))) for number in range(10_000)]
    assert known.count(False) == 1024
    assert known.count(None) == 10_000 - 1024
    assert users.remembered(users.digest(Pair("ann", "sesame"))) is True


def test_where_a_name_ends_is_told(load: Load) -> None:
    users = load(USERS).users
    assert users.digest(Pair("ann", "x")) != users.digest(Pair("an", "nx"))
    assert users.digest(Pair("1 a", "x")) != users.digest(Pair("1", " ax"))


def test_what_is_no_text_is_refused(export: Export, load: Load) -> None:
    assert ask(export(load(USERS)), headers={"Authorization": "Basic \xe9\xff"})[0].status == 401
