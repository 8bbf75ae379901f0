"""The marker of the live tests, and a closing list of every skipped test with its reason."""

import signal
from pathlib import Path

import pytest
from hypothesis import settings

from kmemtrace.model.enums import Tier

pytest_plugins = ["tests.tracing"]
# How long an example takes says more of the machine's load than of the code.
settings.register_profile("kmemtrace", deadline=None)
settings.load_profile("kmemtrace")
LIVE = Path(__file__).parent / "live"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--tier",
        action="append",
        default=[],
        choices=[tier.value for tier in Tier],
        help="run the live tests in this tier; may be repeated (default: the best that works)",
    )
    parser.addoption(
        "--minutes", type=float, default=0.5, help="how long the silence test runs (default: %(default)s)"
    )
    parser.addoption(
        "--at-once",
        action="store_true",
        help="tell of a failure when it happens: a guest may not come to its end",
    )


def pytest_configure(config: pytest.Config) -> None:
    # A job in a shell's background ignores Ctrl-C, and so would each command that a test interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("--at-once"):
        config.pluginmanager.register(_AtOnce())


class _AtOnce:
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            print(
                f"\n{report.nodeid}\n{report.longreprtext}\n{report.capstdout}{report.capstderr}", flush=True
            )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(LIVE):
            item.add_marker(pytest.mark.live)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped: list[pytest.TestReport | pytest.CollectReport] = terminalreporter.getreports("skipped")
    terminalreporter.section(f"{len(skipped)} skipped tests")
    for report in skipped:
        terminalreporter.write_line(f"{report.nodeid}: {_reason(report)}")


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    # pytest keeps the reason of a skip as (file, line, reason).
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")
