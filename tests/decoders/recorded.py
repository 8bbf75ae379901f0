"""A kernel's memory and facts, as far as they were read while recording, and read again from a file."""

import gzip
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kmemtrace.census.memory import Bytes, KernelMemory, Words

_WORD = 8


class RecordedMemory(KernelMemory):
    """Answers from the words that were recorded; all others are zeros, as what cannot be read is."""

    def __init__(self, words: dict[int, int]) -> None:
        self.recorded = words

    def close(self) -> None:
        """Nothing is open."""

    def read(self, address: int, size: int) -> Bytes:
        begin = address & -_WORD
        words = range(begin, address + size, _WORD)
        found = np.array([self.recorded.get(at, 0) for at in words], "u8").view("u1")
        return found[address - begin :][:size]

    def gather(self, addresses: Words, size: int) -> Words:
        rows = [self.read(int(address), size).copy().view("u8") for address in addresses]
        return np.array(rows, "u8").reshape(len(addresses), size // _WORD)


class RecordingMemory(RecordedMemory):
    """Passes each reading on to the kernel's, and keeps what came of it."""

    def __init__(self, memory: KernelMemory) -> None:
        super().__init__({})
        self._memory = memory

    def read(self, address: int, size: int) -> Bytes:
        begin = address & -_WORD
        found = self._memory.read(begin, -(-(address + size - begin) // _WORD) * _WORD).copy()
        for number, word in enumerate(found.view("u8").tolist()):
            if word:
                self.recorded[begin + number * _WORD] = word
        return found[address - begin :][:size]


Question = tuple[str, tuple[object, ...]]


class RecordedFacts:
    """Answers what was asked while recording; see kmemtrace.kernel.facts.Facts."""

    def __init__(self, release: str, machine: str, answers: dict[Question, Any]) -> None:
        self.release, self.machine, self.answers = release, machine, answers

    def __getattr__(self, name: str) -> Any:
        return lambda *asked: self.answers[name, asked]


class RecordingFacts:
    def __init__(self, facts: Any) -> None:
        self.release, self.machine, self._facts = facts.release, facts.machine, facts
        self.answers: dict[Question, Any] = {}

    def __getattr__(self, name: str) -> Any:
        def ask(*asked: object) -> Any:
            answer = getattr(self._facts, name)(*asked)
            self.answers[name, asked] = answer
            return answer

        return ask


@dataclass
class Recording:
    """What was read, and what it was decoded to while the kernel's own count agreed with it to the byte."""

    release: str
    machine: str
    answers: dict[Question, Any]
    words: dict[int, int]
    windows: list[int] = field(default_factory=list)
    """Addresses of struct pages, from each of which FRAMES were read."""
    chunk: int = 0
    """Of per-CPU memory; 0 where none was found."""
    stocks: list[int] = field(default_factory=list)
    decoded: dict[str, Any] = field(default_factory=dict)

    @property
    def facts(self) -> RecordedFacts:
        return RecordedFacts(self.release, self.machine, self.answers)

    def write(self, file: Path) -> None:
        document = vars(self) | {
            "answers": [[name, list(asked), answer] for (name, asked), answer in self.answers.items()],
            "words": _runs(self.words.items()),
        }
        with gzip.open(file, "wt", compresslevel=9) as out:
            json.dump(document, out, separators=(",", ":"))


def load(file: Path) -> Recording:
    with gzip.open(file, "rt") as text:
        document = json.load(text)
    answers = {(name, tuple(asked)): _tuple(answer) for name, asked, answer in document.pop("answers")}
    words = {
        begin + number * _WORD: word
        for begin, *run in document.pop("words")
        for number, word in enumerate(run)
    }
    return Recording(answers=answers, words=words, **document)


def _tuple(answer: Any) -> Any:
    return tuple(answer) if isinstance(answer, list) else answer


def _runs(words: Iterable[tuple[int, int]]) -> list[list[int]]:
    """The words that follow each other: the address of the first, and they."""
    runs: list[list[int]] = []
    for address, word in sorted(words):
        if runs and address == runs[-1][0] + (len(runs[-1]) - 1) * _WORD:
            runs[-1].append(word)
        else:
            runs.append([address, word])
    return runs
