"""Says of each command what is to be known before it is imported: in a line, what it is for.

So the list of all commands takes none of their modules.
"""

SUMMARIES = {
    "top": "live view of charged kernel memory by cgroup",
    "verify": "prove that each page charged to a command is uncharged as it was charged",
    "leaks": "pages that are held for long, by call site and cgroup",
    "audit": "is each cgroup charged for what is there, and for nothing else?",
    "dead": "removed cgroups that the kernel still has, and what keeps them",
    "export": "serve the metrics for Prometheus",
    "record": "write what is charged over time into a folder, for analysis",
    "report": "what a recording tells: a summary, profiles, or a page to look at",
    "diff": "what grew from one recording to another, before and after a kernel or a deploy",
    "check": "what this kernel offers, and what is missing",
}
"""By the command's name, which is its module's, in the order of the list."""

READING_SYMBOLS = frozenset({"top", "verify", "leaks", "audit", "dead", "export", "record", "check"})
"""Commands that need the kernel's symbols. To read them takes the kernel 60 ms, as it does to import most
commands."""
