"""Exit codes that scripts can trust, and the one line that goes with a failure."""

from __future__ import annotations

from enum import IntEnum

from qbft.errors import CertificateError, ClusterError, QbftError


class ExitCode(IntEnum):
    """How a command ended. Results are on standard output, the reason of a failure on the other."""

    OK = 0
    """Done, and the answer is yes where there was a question."""

    NEGATIVE = 1
    """An answer, and it is no: not decided, proves nothing, differs, quorum not reachable."""

    USAGE = 2
    """A wrong flag, or a configuration, directory or input that cannot be used."""

    UNAVAILABLE = 3
    """Nodes did not answer in time; what was proposed may still be decided."""

    REFUSED = 4
    """Nodes answered that they will not do it."""

    FAILED = 5
    """Anything else that stopped it: a disk, a broken journal, a bug."""

    INTERRUPTED = 130
    """Ctrl-C."""


class CommandError(QbftError):
    """A command ends here, with this line and this code."""

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.code = code


def exit_code_of(error: Exception) -> ExitCode:
    """The code of whatever may end a command; those of the client carry theirs already."""
    match error:
        case CommandError():
            return error.code
        case CertificateError():
            return ExitCode.NEGATIVE
        case ClusterError():
            return ExitCode.USAGE
        case _:
            return ExitCode.FAILED


def one_line(text: str) -> str:
    """A message as a single line without control characters: part of it may be a node's words."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
