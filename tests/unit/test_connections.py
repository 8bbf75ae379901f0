"""Who may stay: whoever comes gets in, and those go that are waited for longest, of whoever has most."""

from hypothesis import given
from hypothesis import strategies as st

from kmemtrace.exporter.connections import Peer, Room, address_of


class Visitors:
    def __init__(self, most: int) -> None:
        self.room = Room(most)
        self.ended: list[Peer] = []

    def enter(self, address: str, patience: float = 3600.0) -> Peer | None:
        peer: Peer | None = None

        def end() -> None:
            assert peer is not None
            self.ended.append(peer)

        peer = self.room.enter(address, end, patience)
        return peer


def test_of_one_address_those_go_that_came_first() -> None:
    visitors = Visitors(8)
    peers = [visitors.enter("a") for _ in range(10)]
    assert visitors.ended == peers[:4], "six places of eight are for one address"
    other = visitors.enter("b")
    assert other is not None
    assert len(visitors.ended) == 4


def test_many_of_one_address_do_not_drive_out_another() -> None:
    visitors = Visitors(8)
    other = visitors.enter("b")
    for _ in range(100):
        assert visitors.enter("a") is not None
    assert other not in visitors.ended


def test_with_many_addresses_those_with_most_make_room() -> None:
    visitors = Visitors(8)
    several = [visitors.enter("a") for _ in range(4)]
    ones = [visitors.enter(f"{i}") for i in range(4)]
    assert visitors.enter("new") is not None
    assert visitors.ended == several[:1]
    assert not set(ones) & set(visitors.ended)


def test_who_waits_for_us_stays() -> None:
    visitors = Visitors(4)
    peers = [visitors.enter("a") for _ in range(3)]
    for peer in peers:
        assert peer is not None
        assert visitors.room.works(peer)
    assert visitors.enter("a") is None
    assert visitors.enter("b") is not None
    assert visitors.enter("c") is not None, "in place of b: neither has more than the other"
    assert peers[0] is not None
    visitors.room.waits(peers[0], 3600.0)
    assert visitors.enter("a") is not None
    assert visitors.ended[-1] is peers[0]
    assert not visitors.room.works(peers[0]), "it has been ended"


def test_who_keeps_us_waiting_is_ended() -> None:
    visitors = Visitors(4)
    late, patient = visitors.enter("a", patience=0.0), visitors.enter("a")
    working = visitors.enter("b", patience=0.0)
    assert working is not None
    visitors.room.works(working)
    assert visitors.room.end_overdue() == 1
    assert visitors.ended == [late]
    visitors.room.end_all()
    assert set(visitors.ended) == {late, patient, working}
    assert len(visitors.room) == 0


STEPS = st.lists(st.tuples(st.sampled_from("ewil"), st.sampled_from("abc"), st.integers(0, 50)), max_size=80)


@given(STEPS, st.integers(1, 9))
def test_there_are_never_too_many(steps: list[tuple[str, str, int]], most: int) -> None:
    """And nobody is ended who waits for us, whatever comes in whatever order."""
    visitors, peers = Visitors(most), list[Peer]()
    working: set[Peer] = set()
    for step, address, number in steps:
        peer = peers[number % len(peers)] if peers else None
        if step == "e":
            newcomer = visitors.enter(address)
            if newcomer is not None:
                peers.append(newcomer)
        elif peer is not None and step == "w":
            if visitors.room.works(peer):
                working.add(peer)
        elif peer is not None:
            working.discard(peer)
            if step == "i":
                visitors.room.waits(peer, 3600.0)
            else:
                visitors.room.leave(peer)
                peers.remove(peer)
        assert len(visitors.room) <= most
        assert not working & set(visitors.ended)
        assert len(visitors.room) == len(set(peers) - set(visitors.ended))
        assert len(visitors.ended) == len(set(visitors.ended)), "once each"


def test_addresses() -> None:
    assert address_of("192.0.2.7") == address_of("::ffff:192.0.2.7") == "192.0.2.7"
    assert address_of("::1") != address_of("2001:db8::1")
    assert address_of("2001:db8::1") == address_of("2001:db8::ffff:2")
    assert address_of("2001:db8:0:1::1") != address_of("2001:db8::1")
    assert address_of("fe80::1%eth0") == address_of("fe80::2")
