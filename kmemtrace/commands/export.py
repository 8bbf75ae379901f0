"""kmemtrace export: the metrics, for Prometheus."""

import argparse
import asyncio
import contextlib
import gc
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmemtrace.commands.arguments import GRAMMAR
from kmemtrace.commands.censuses import add_census_argument, open_both
from kmemtrace.commands.replay import Tape, add_replay_argument, opened, refuse_tracing
from kmemtrace.commands.session import add_tracer_arguments
from kmemtrace.commands.summaries import SUMMARIES
from kmemtrace.errors import CannotError, ExitStatus, UsageError
from kmemtrace.exporter import systemd, web_config
from kmemtrace.exporter.listener import BACKLOG
from kmemtrace.exporter.log import Level, Log
from kmemtrace.exporter.series import MOST_BYTES, MOST_CGROUPS
from kmemtrace.exporter.server import HEALTH, METRICS, READY, Server
from kmemtrace.exporter.source import Source
from kmemtrace.exporter.told import HookInfo, ProgramRuns
from kmemtrace.exporter.web_config import WebConfig
from kmemtrace.kernel.capabilities import keep_only
from kmemtrace.kernel.hooks import Hook
from kmemtrace.kernel.run_time import counted, counting
from kmemtrace.model.snapshot import Snapshot

if TYPE_CHECKING:
    from kmemtrace.tracer.tracer import Tracer

DEFAULT_ADDRESS = "127.0.0.1:9796"
_TURN_SECONDS = 0.0005
"""How long a reading may hold the interpreter while the server waits for it, as it does after each call to
the kernel: with Python's own 5 ms a few hundred peers add up to a second."""
_KEPT = ("CAP_BPF", "CAP_DAC_READ_SEARCH")
"""To read the maps, and to learn the name of a cgroup from its id."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "export",
        help=SUMMARIES["export"],
        description="Traces, and serves /metrics, /healthz and a page for people until it is ended. Once "
        "attached it gives up every capability but what reading takes. With --replay it serves a recording "
        "instead, as it went, and its last moment from its end on, as for a dashboard's tests. SIGHUP reads "
        "--web.config.file again.",
        epilog=f"{GRAMMAR}\n\nexample:\n"
        "  sudo kmemtrace export --web.listen-address :9796 --web.config.file web.yml",
    )
    _add_web_arguments(parser)
    parser.add_argument(
        "--max-cgroups",
        type=_count,
        default=MOST_CGROUPS,
        metavar="N",
        help="cgroups with series of their own, those that hold most; the others are added up in (other) "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--max-bytes",
        type=_bytes,
        default=MOST_BYTES,
        metavar="N",
        help="of a scrape, that these series may take (default: %(default)s)",
    )
    parser.add_argument(
        "--program-stats",
        action="store_true",
        help="have the kernel count how often and how long the BPF programs run: 20 ns more per event",
    )
    parser.add_argument(
        "--log.level",
        dest="log_level",
        type=str.lower,
        choices=[level.name.lower() for level in Level],
        default=Level.INFO.name.lower(),
        help="of what is said on stderr; the evidence of mismatches is a warning (default: %(default)s)",
    )
    add_replay_argument(parser)
    add_tracer_arguments(parser)
    add_census_argument(parser)
    parser.set_defaults(run=run)


def _add_web_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options under the names that Prometheus's exporters have for them."""
    listen: dict[str, Any] = {"dest": "listen_address", "action": "append", "type": address}
    parser.add_argument(
        "--web.listen-address",
        **listen,
        metavar="HOST:PORT",
        help=f"may be repeated; :PORT is every address of this host (default: {DEFAULT_ADDRESS})",
    )
    # Its name of before, which goes on being taken.
    parser.add_argument("--listen-address", **listen, help=argparse.SUPPRESS)
    parser.add_argument(
        "--web.telemetry-path",
        dest="telemetry_path",
        type=_path,
        default=METRICS,
        metavar="PATH",
        help="where the metrics are (default: %(default)s)",
    )
    parser.add_argument(
        web_config.OPTION,
        dest="web_config",
        type=Path,
        metavar="FILE",
        help="TLS and basic authentication, in the format of Prometheus's exporter toolkit",
    )


def address(text: str) -> tuple[str, int]:
    """Returns host and port of 127.0.0.1:9796, [::1]:9796, localhost:9796 or :9796."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or not 0 <= int(port) < 1 << 16:
        raise argparse.ArgumentTypeError(f"{text!r} is no HOST:PORT")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise argparse.ArgumentTypeError(f"{text!r}: an IPv6 address goes in brackets: [{host}]:{port}")
    return host.strip("[]"), int(port)


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 100000")
    return int(text)


def _bytes(text: str) -> int:
    if not text.isdigit() or not 1 << 16 <= int(text) <= 1 << 30:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {1 << 16} to {1 << 30}")
    return int(text)


def _path(text: str) -> str:
    if not re.fullmatch(r"(/[\w.~-]+)+|/", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is no path: write it as {METRICS}")
    if text in (*HEALTH, READY):
        raise argparse.ArgumentTypeError(f"{text} is taken")
    return text


def run(options: argparse.Namespace) -> ExitStatus:
    config = web_config.load(options.web_config)
    log = Log(Level[options.log_level.upper()])
    # Who ends it, at the start too, asks for nothing more.
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
        if options.replay is not None:
            if options.program_stats:
                raise UsageError("--program-stats is for tracing here: leave it out, or --replay.")
            refuse_tracing(options)
        sockets = [
            stack.enter_context(one)
            for where in options.listen_address or [address(DEFAULT_ADDRESS)]
            for one in listening(*where)
        ]
        read, hooks, runs = (_traced if options.replay is None else _replayed)(options, stack)
        source = Source(read, hooks, runs, options.max_cgroups, options.max_bytes, log)
        source.told()  # so that whoever waits for readiness finds something
        for one in sockets:
            log.tell(Level.INFO, f"serving {_url(one, config, options.telemetry_path)}")
        gc.freeze()  # what is there for good need not be looked through for cycles, which takes 100 ms
        sys.setswitchinterval(_TURN_SECONDS)
        server = Server(source, config, log, options.telemetry_path)
        asyncio.run(_serve(server, log, sockets, options.web_config))
    return ExitStatus.OK


_Read = tuple[Callable[[], Snapshot], tuple[HookInfo, ...], Callable[[], tuple[ProgramRuns, ...] | None]]
"""What makes the Snapshots, the hooks that they are by, and what tells how often programs ran."""


def _traced(options: argparse.Namespace, stack: contextlib.ExitStack) -> _Read:
    if options.program_stats:
        stack.enter_context(counting())
    keeper, tracer = stack.enter_context(open_both(options))
    keep_only(_KEPT)
    stack.enter_context(keeper)  # from here on, for its thread is to have no more than is kept
    keeper.wait_for_first()
    return (
        lambda: keeper.joined(tracer.snapshot()),
        hook_infos(tracer),
        lambda: program_runs(tracer) if counted(asked=options.program_stats) else None,
    )


def _replayed(options: argparse.Namespace, _: contextlib.ExitStack) -> _Read:
    tape = Tape(opened(options.replay))
    hooks = (HookInfo(*one) for one in tape.hooks())
    return tape.snapshot, tuple(hooks), lambda: None


async def _serve(server: Server, log: Log, sockets: list[socket.socket], file: Path | None) -> None:
    """Serves until SIGTERM or SIGINT."""
    loop, end = asyncio.get_running_loop(), asyncio.Event()
    hang_up = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end.set)
    loop.add_signal_handler(signal.SIGHUP, hang_up.set)
    await server.start(sockets)
    systemd.notify("READY=1")
    reloading = asyncio.create_task(_reload(server, log, file, hang_up))
    await end.wait()
    systemd.notify("STOPPING=1")
    reloading.cancel()
    await server.stop()


def _url(listening_on: socket.socket, config: WebConfig, path: str) -> str:
    host, port = listening_on.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"{'http' if config.tls is None else 'https'}://{shown}:{port}{path}"


async def _reload(server: Server, log: Log, file: Path | None, hang_up: asyncio.Event) -> None:
    """Reads the configuration anew at each SIGHUP; one that is wrong leaves that of before."""
    while True:
        await hang_up.wait()
        hang_up.clear()
        systemd.notify_reloading()
        if file is None:
            log.tell(Level.INFO, f"there is nothing to read again: {web_config.OPTION} was not given")
        else:
            try:
                server.reconfigure(await asyncio.to_thread(web_config.load_anew, file, server.config))
                log.tell(Level.INFO, f"{web_config.OPTION} {file} was read again; now hold: {server.config}")
            except UsageError as error:
                held = f"The configuration stays as it was: {server.config}."
                log.tell(Level.ERROR, f"{error} {held}")
        systemd.notify("READY=1")


def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Yields sockets that listen on each of the host's addresses.

    Raises:
        CannotError: One of them cannot be listened on.
    """
    try:
        if not host and socket.has_dualstack_ipv6():
            yield socket.create_server(
                ("", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True
            )
            return
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, *_, where in dict.fromkeys(found):
            yield socket.create_server(where[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise CannotError(
            f"Nothing can be served on {host or '*'}:{port}: {error.strerror or error}. Name another "
            "--web.listen-address."
        ) from None


def hook_infos(tracer: "Tracer") -> tuple[HookInfo, ...]:
    return tuple(
        HookInfo(event.value, hook.name, mechanism)
        for event, hook in tracer.plan.hooks.items()
        if isinstance(hook, Hook)
        for mechanism in tracer.plan.attachments(event)
    )


def program_runs(tracer: "Tracer") -> tuple[ProgramRuns, ...]:
    return tuple(ProgramRuns(name, i.runs, i.run_ns / 1e9) for name, i in tracer.infos().items())
