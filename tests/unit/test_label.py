"""The label of a cgroup: bounded, readable, the same each time, and no other one's."""

from hypothesis import given
from hypothesis import strategies as st

from kmemtrace.exporter.label import MOST_BYTES, label_of, size
from tests.sample import CONTAINER

LETTERS = st.characters(exclude_characters="/\n\0", exclude_categories=["Cs"])
NAMES = st.text(LETTERS, min_size=1, max_size=255)
PATHS = st.lists(NAMES, max_size=16).map(lambda names: "/" + "/".join(names))


def test_short_ones_are_the_path() -> None:
    for path in ("/", CONTAINER, "/" + "a" * (MOST_BYTES - 1)):
        assert label_of(path) == path


def test_long_ones_can_be_read() -> None:
    path = f"/kubepods.slice/{'a' * 4000}/web.service"
    label = label_of(path)
    assert label.startswith("/kubepods.slice/aaaa")
    assert label.endswith("aaaa/web.service")
    assert size(label) == MOST_BYTES
    assert label_of(path + "x") != label


@given(PATHS, PATHS)
def test_bounded_stable_and_nobody_elses(one: str, other: str) -> None:
    assert size(label_of(one)) <= MOST_BYTES
    assert label_of(one) == label_of(one)
    assert (label_of(one) == label_of(other)) == (one == other)
    if label_of(one) != one:
        assert "//" in label_of(one)[1:-1], "as in no path"


@given(st.text('\\"é€𝄞a', min_size=200, max_size=600))
def test_bounded_as_it_is_written(name: str) -> None:
    """Whatever is escaped, and whatever takes several bytes."""
    label = label_of("/" + name)
    written = label.replace("\\", r"\\").replace('"', r"\"").encode()
    assert len(written) == size(label) <= MOST_BYTES
