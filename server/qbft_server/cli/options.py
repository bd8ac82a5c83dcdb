"""Options that several commands share, and what they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qbft.core import InstanceId
from qbft_server.cli.exits import CommandError, ExitCode

CLUSTER_VARIABLE = "QBFT_CLUSTER"
"""Where the cluster file is; for a node it is the setting of the same name."""

ClusterOption = Annotated[
    Path,
    typer.Option("--cluster", "-c", envvar=CLUSTER_VARIABLE, help="The cluster file."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON, one object a line.")]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", min=0.001, help="Seconds to wait for an answer.")
]
AccessOption = Annotated[
    Path | None,
    typer.Option(
        "--access",
        help="A private TOML file of what the operator asks of clients: token, or key and "
        "certificate (files), or insecure_plaintext.",
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Write decision and certificate to this file."),
]
NodeOption = Annotated[
    int | None, typer.Option("--node", min=0, help="Ask this node alone, by its index.")
]
FromOption = Annotated[int, typer.Option("--from", min=0, help="The height to begin at.")]
ValueArgument = Annotated[str | None, typer.Argument(metavar="VALUE", help="The value, as text.")]
ValueFileOption = Annotated[
    Path | None,
    typer.Option("--file", "-f", help="The value is this file's bytes; - reads standard input."),
]
ProposerKeyOption = Annotated[
    Path | None,
    typer.Option(
        "--key",
        "--proposer-key",
        help="Sign as the proposer with this key, as guarded topics demand (`qbft keygen`).",
    ),
]
NodeFileArgument = Annotated[
    Path,
    typer.Argument(metavar="NODE_FILE", envvar="QBFT_CONFIG", help="The node's file (node.toml)."),
]
InstanceArgument = Annotated[str, typer.Argument(metavar="TOPIC/HEIGHT")]
TopicArgument = Annotated[str, typer.Argument(metavar="TOPIC")]

TIMEOUT_SECONDS = 10.0


def read_instance(text: str) -> InstanceId:
    """Read TOPIC/HEIGHT.

    Raises:
        CommandError: it is not of that form.
    """
    try:
        return InstanceId.parse(text)
    except ValueError as error:
        raise CommandError(str(error), ExitCode.USAGE) from error


def read_topic(topic: str, height: int) -> InstanceId:
    """Read a topic and where to begin.

    Raises:
        CommandError: there can be no such topic.
    """
    try:
        return InstanceId(topic, height)
    except ValueError as error:
        raise CommandError(str(error), ExitCode.USAGE) from error


def read_file(path: Path, what: str, bytes_max: int) -> bytes:
    """A file of bounded size.

    Raises:
        CommandError: there is no such file, or it is too large.
    """
    try:
        with path.open("rb") as file:
            data = file.read(bytes_max + 1)
    except OSError as error:
        message = f"{path}: cannot read the {what}: {error.strerror}"
        raise CommandError(message, ExitCode.USAGE) from error
    if len(data) > bytes_max:
        raise CommandError(f"{path}: a {what} has at most {bytes_max} bytes", ExitCode.USAGE)
    return data
