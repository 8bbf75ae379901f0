"""The census's decoders on memory of real kernels, recorded in guests while what they found there added up to
the kernel's own count to the byte."""

from pathlib import Path

import pytest

from kmemtrace.kernel.facts import version
from tests.decoders.decode import decode
from tests.decoders.recorded import RecordedMemory, Recording, load

FILES = sorted(Path(__file__).with_name("recordings").glob("*.json.gz"))


@pytest.fixture(params=FILES, ids=lambda file: file.name.removesuffix(".json.gz"), scope="module")
def recording(request: pytest.FixtureRequest) -> Recording:
    return load(request.param)


def test_all_generations_are_recorded() -> None:
    assert {file.name.removesuffix(".json.gz") for file in FILES} >= {"5.10", "6.1", "6.12", "6.18", "7.3"}


def test_what_was_read_is_decoded_as_it_was(recording: Recording) -> None:
    memory = RecordedMemory(recording.words)
    found = decode(memory, recording.facts, recording.windows, recording.chunk, recording.stocks)
    assert found == recording.decoded


def test_each_kind_is_in_it(recording: Recording) -> None:
    """A recording of nothing would be decoded right as well."""
    blocks = [block for window in recording.decoded["blocks"] for block in window]
    assert any(order == 0 for _head, _owner, order, _doubtful, _table in blocks)
    assert any(order > 0 for _head, _owner, order, _doubtful, _table in blocks)
    assert recording.decoded["objects"]
    assert recording.decoded["areas"]


def test_one_owner_has_of_both(recording: Recording) -> None:
    """The load's: its pages and objects name one objcg; before 5.13 a page names the memcg."""
    objects = {owner for _cache, _size, owner in recording.decoded["objects"]}
    pages = {owner for window in recording.decoded["blocks"] for _head, owner, *_ in window}
    assert bool(objects & pages) == (version(recording.release) >= (5, 13))
