"""Defines errors that end a command: a plain sentence or two for stderr, and the exit status."""

from enum import IntEnum


class ExitStatus(IntEnum):
    OK = 0
    BAD = 1
    """What was asked about is bad."""
    USAGE = 2
    INCONCLUSIVE = 3
    """Events were lost, so that no verdict holds."""
    CANNOT = 4
    """This kernel or this user cannot do what was asked, or the answer could not be written."""


class KmemtraceError(Exception):
    """Says what is wrong and what to do about it, in one or two sentences."""

    status = ExitStatus.BAD


class UsageError(KmemtraceError):
    status = ExitStatus.USAGE


class CannotError(KmemtraceError):
    """What was asked cannot be done by this kernel, this machine or this user."""

    status = ExitStatus.CANNOT


class OutputError(CannotError):
    """A file or stream cannot be written to."""
