"""Sends word to the service manager, as sd_notify(3) gives it."""

import os
import socket
import time


def notify(*words: str) -> None:
    """Sends words, e.g. "READY=1"; nothing where no service manager waits for it."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # of the abstract kind
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        manager.sendto("\n".join(words).encode(), address)


def notify_reloading() -> None:
    """Says that we reload, which Type=notify-reload wants to know; READY=1 ends it."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
