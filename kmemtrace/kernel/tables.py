"""Tells whether the records of pages can be in a table of our own, or have to be in a hash map."""

from kmemtrace.kernel.facts import Facts


def why_no_table(facts: Facts) -> str | None:
    """Says why records have to be in a hash map; None where they are in the table (probes/records.h)."""
    if facts.machine != "x86_64":
        return f"on {facts.machine} other CPUs need not see the stores of one in their order"
    if not facts.exchanges():
        return "programs of this kernel cannot compare and exchange (5.12)"
    return None
