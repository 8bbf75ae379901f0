"""Reads what each CPU keeps of the bytes that were charged ahead.

They are for the next objects of one owner, or of a few.
"""

import os
from pathlib import Path

import numpy as np

from kmemtrace.census.layout.find import UnknownLayoutError
from kmemtrace.census.layout.percpu import StockLayout, stock_layout
from kmemtrace.census.memory import KernelMemory, Words
from kmemtrace.kernel.facts import Facts
from kmemtrace.tracer.maps import possible_cpus

_KERNEL_BEGIN = 1 << 63
_NOT_FOUND = "where the CPUs keep what they charged ahead was not found"


class Stocks:
    """Reads the stocks of the CPUs, which stay where they are for as long as the kernel runs."""

    def __init__(self, memory: KernelMemory, facts: Facts) -> None:
        self._memory, self._addresses = memory, np.zeros(0, "u8")
        self.unseen: str | None = _NOT_FOUND
        """Why the stocks are not read; None where they are."""
        try:
            self._layout = stock_layout(facts)
        except UnknownLayoutError as error:
            self.unseen = f"this kernel lays out the stocks of its CPUs in a way that is not known: {error}"
            return
        self._addresses = _by_symbols(memory, self._layout, facts)
        if not len(self._addresses):
            self._addresses = _by_run_queues(memory, self._layout, facts)
        if len(self._addresses):
            self.unseen = None

    def read(self) -> tuple[Words, Words]:
        """Returns owners, one or more times each, and the bytes that are kept for them.

        Both are empty where the stocks are not read.
        """
        if not len(self._addresses):
            return self._addresses, self._addresses
        return read_stocks(self._memory, self._layout, self._addresses)


def read_stocks(memory: KernelMemory, layout: StockLayout, stocks: Words) -> tuple[Words, Words]:
    """Returns the owners and bytes of the stocks at these addresses."""
    owners, amounts = [], []
    for entry in range(layout.entries):
        at = layout.bytes + entry * layout.bytes_size
        read = memory.words(stocks, at & ~7) >> np.uint64(8 * (at % 8))
        amounts.append(read & np.uint64((1 << 8 * layout.bytes_size) - 1))
        owners.append(memory.words(stocks, layout.objcgs + 8 * entry))
    objcgs, kept = np.concatenate(owners), np.concatenate(amounts)
    return objcgs[objcgs != 0], kept[objcgs != 0]


def _by_symbols(memory: KernelMemory, layout: StockLayout, facts: Facts) -> Words:
    variable, offsets = facts.symbol(layout.variable), facts.symbol("__per_cpu_offset")
    if variable is None or offsets is None:
        return np.zeros(0, "u8")
    cpus = np.arange(possible_cpus(), dtype="u8")
    return memory.words(np.uint64(offsets) + cpus * np.uint64(8)) + np.uint64(variable)


def _by_run_queues(memory: KernelMemory, layout: StockLayout, facts: Facts) -> Words:
    """Finds the stocks by visiting each CPU with this thread.

    A task's queue leads to its CPU's run queue, which is a per-CPU variable as well: the distance between the
    two is the same on each CPU. CPUs that are off keep nothing.
    """
    run_queues, stock = facts.percpu_offset("runqueues"), facts.percpu_offset(layout.variable)
    if run_queues is None or stock is None:
        return np.zeros(0, "u8")
    allowed = os.sched_getaffinity(0)
    try:
        found = [_run_queue_of(memory, layout, cpu) for cpu in sorted(_online())]
    finally:
        os.sched_setaffinity(0, allowed)
    if None in found:
        return np.zeros(0, "u8")
    return np.array(found, "u8") - np.uint64(run_queues) + np.uint64(stock)


def _run_queue_of(memory: KernelMemory, layout: StockLayout, cpu: int) -> int | None:
    """Returns a CPU's run queue; None where this thread may not run there, or what was found is another's."""
    try:
        os.sched_setaffinity(0, {cpu})
    except OSError:
        return None
    queue = memory.word(memory.current_task() + layout.task_queue)
    run_queue = memory.word(queue + layout.queue_run)
    if run_queue < _KERNEL_BEGIN or memory.word(run_queue + layout.run_cpu) & 0xFFFFFFFF != cpu:
        return None
    return run_queue


def _online() -> set[int]:
    found: set[int] = set()
    for part in Path("/sys/devices/system/cpu/online").read_text(encoding="ascii").strip().split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found
