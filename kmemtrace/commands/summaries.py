"""Says in a line what each command is for.

It stands here, and not with the command, so that the list of all commands takes none of their modules.
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
