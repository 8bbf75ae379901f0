"""What each command costs while it runs, candidly; the figures are those of docs/overhead.md."""

TRACING = (
    "While it runs, an allocation that is not charged, and a free of a page that is not followed, leave at "
    "the first test, a few nanoseconds after an empty BPF program. A page that is charged took 1.5 times as "
    "long as without a tracer in the tracepoint tier, 1.4 times with --no-sites; in the tiers with function "
    "probes it costs several times that. It keeps 100 bytes of memory for each page that can be followed. "
    "Nothing of it stays when it ends."
)
CENSUS = (
    "It attaches nothing to any event. Each reading of the kernel's memory took 5 ms of a CPU for each GB, "
    "and 59 ms for a million charged objects."
)
READING = "It reads files, and costs the machine no more than any program that does."

OF_COMMANDS = {
    "": "Each command's page says what that one costs. `make bench` measures it on a machine.",
    "top": f"{TRACING} --objects costs each slab object, and --walk-stacks and --kernel-total each charged "
    "page: see there.",
    "verify": TRACING,
    "leaks": TRACING,
    "export": TRACING,
    "record": f"{TRACING} --max-size bounds what it writes.",
    "audit": CENSUS,
    "dead": CENSUS,
    "report": READING,
    "diff": READING,
    "check": "It loads programs of a few instructions to see what the kernel allows, and removes them.",
}
