"""In which order cgroups get series: by what is held, and nobody gains by making more of them."""

from collections import defaultdict
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from kmemtrace.exporter.choice import Turns


def by_turns(worth: Mapping[str, float]) -> list[str]:
    turns = Turns()
    for path, amount in worth.items():
        turns.put(path, amount)
    return list(turns)


def _shared_out(cgroups: list[tuple[list[str], str]], worth: Mapping[str, float], level: int) -> list[str]:
    """The same as its definition has it: of cgroups with the same names up to this level."""
    below: dict[str, list[tuple[list[str], str]]] = defaultdict(list)
    turns: list[tuple[float, str]] = []
    for names, path in cgroups:
        if level in (8, len(names)) or path == "/":
            turns.append((-worth[path], path))
        else:
            below[names[level]].append((names, path))
    for children in below.values():
        total = sum(worth[path] for _, path in children)
        inner = _shared_out(children, worth, level + 1)
        turns += [(-total / turn, path) for turn, path in enumerate(inner, 1)]
    return [path for _, path in sorted(turns)]


_PATHS = st.one_of(
    st.sampled_from(["/", "(id 7)", "/a" * 9, "/a" * 10, "/a" * 9 + "/b"]),
    st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(lambda names: "/" + "/".join(names)),
)


@given(st.lists(st.tuples(_PATHS, st.integers(0, 9)), max_size=30))
def test_turns_are_as_if_they_were_given_out_anew(steps: list[tuple[str, int]]) -> None:
    """Whatever was put before and taken out again."""
    turns, worth = Turns(), dict[str, int]()
    for path, amount in steps:
        turns.put(path, amount)
        worth[path] = amount
        there = {one: of for one, of in worth.items() if of}
        names = [(one.strip("/").split("/", 8), one) for one in there]
        assert list(turns) == _shared_out(names, there, 0)


def test_siblings_by_what_they_hold() -> None:
    assert by_turns({"/a": 1, "/b": 3, "/c": 2}) == ["/b", "/c", "/a"]


def test_odd_paths() -> None:
    assert by_turns({"/": 3, "(id 17)": 2, "/a": 1}) == ["/", "(id 17)", "/a"]
    deep = "/a" * 2000
    assert by_turns({deep: 1, deep + "/b": 2, "/b": 2.5}) == [deep + "/b", "/b", deep]


def test_services_have_their_turns_beside_a_thousand() -> None:
    """Each of which holds more than any of them."""
    crowd = {f"/u/{i}": 10.0 for i in range(1000)}
    services = {f"/system.slice/{i}": 9.0 for i in range(100)}
    order = by_turns(crowd | services)
    assert sum(path in services for path in order[:200]) == 16, "as they hold 900 of 10,900"


OTHERS = st.sampled_from(["/s/a", "/s/b", "/s/c", "/s/d/e", "/t"])


@given(
    st.dictionaries(OTHERS, st.integers(1, 50), min_size=1),
    st.integers(1, 200),
    st.integers(1, 200),
    st.lists(st.sampled_from("xyz"), max_size=3),
)
def test_split_as_they_like_they_gain_nothing(
    others: dict[str, int], held: int, pieces: int, levels: list[str]
) -> None:
    """Whoever holds so much in all, below a cgroup of its own, in however many cgroups at whatever depth, has
    at most its share of what has been given out whenever one of the others gets its turn."""
    folder = "/".join(["/u", *levels])
    split = {f"{folder}/{i}": held / pieces for i in range(pieces)}
    order = by_turns({path: float(pages) for path, pages in others.items()} | split)
    assert sorted(order) == sorted([*others, *split])
    for name in ("s", "t"):
        theirs = {path: pages for path, pages in others.items() if path.startswith(f"/{name}")}
        for turn, at in enumerate((i for i, path in enumerate(order) if path in theirs), 1):
            before = sum(path in split for path in order[:at])
            assert before <= held * turn / sum(theirs.values()) + 1e-6
