"""The `qbft` command: what commands there are, and how each failure ends.

Modules that a command needs are imported when it runs, so that `qbft verify` is quick and needs
neither gRPC nor a server.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from qbft.errors import QbftError
from qbft_server.cli import (
    appending,
    asking,
    capture,
    chaos,
    diagnosing,
    doctor,
    evidence,
    keeping,
    operating,
    reconfiguring,
    replay,
    signing,
    simulating,
)
from qbft_server.cli.exits import ExitCode, exit_code_of, one_line

EXIT_CODES = """Exit codes: 0 done · 1 the answer is no (not decided, not genuine, differs) ·
2 usage, configuration or input · 3 no answer in time · 4 refused by nodes · 5 any other failure ·
130 interrupted. Every failure is one line on standard error."""

app = typer.Typer(
    name="qbft",
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        from qbft_server.version import VERSION

        typer.echo(f"qbft {VERSION}")
        raise typer.Exit


@app.callback(invoke_without_command=True, epilog=EXIT_CODES)
def _root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """A Byzantine-fault-tolerant decision service: run nodes, propose, read, check certificates."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(ExitCode.USAGE)


for _command in (
    operating.init,
    operating.keygen,
    operating.token,
    operating.node,
    signing.signer,
    doctor.doctor,
    asking.propose,
    asking.get,
    asking.watch,
    appending.append,
    appending.entries,
    operating.verify,
    asking.status,
    diagnosing.why,
    evidence.evidence,
    capture.capture,
    replay.replay,
    operating.parity,
    operating.demo,
    chaos.chaos,
    keeping.backup,
    keeping.restore,
    keeping.abandon,
    reconfiguring.candidate,
    reconfiguring.reconfigure,
    reconfiguring.join,
):
    app.command()(_command)
app.command("list")(asking.list_)
app.add_typer(simulating.app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit code."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its C core would add lines of its own
    try:
        code = app(args=arguments, prog_name="qbft", standalone_mode=False)
        sys.stdout.flush()
        if code == ExitCode.INTERRUPTED:
            return _end("interrupted", code)
        return code if isinstance(code, int) else ExitCode.OK
    except typer.TyperException as error:
        return _end(f"{error.format_message().rstrip('.')}{_help_of(error)}", error.exit_code)
    except SystemExit as end:  # typer's way out: of completion, or whoever read our output has left
        return ExitCode.FAILED if end.code else ExitCode.OK
    except BrokenPipeError:  # the same, seen by us: nothing to tell them
        _drop_output()
        return ExitCode.FAILED
    except QbftError as error:
        return _end(str(error), exit_code_of(error))
    except OSError as error:
        _drop_output()
        where = f"{error.filename}: " if error.filename else ""
        return _end(f"{where}{error.strerror or error}", ExitCode.FAILED)
    except ModuleNotFoundError as error:
        message = f"{error.name} is not installed, it comes with: pip install 'qbft[node]'"
        return _end(message, ExitCode.FAILED)
    except (KeyboardInterrupt, typer.Abort):
        return _end("interrupted", ExitCode.INTERRUPTED)
    except Exception:  # noqa: BLE001 - a bug: told in full, and never mistaken for an answer
        traceback.print_exc()
        return ExitCode.FAILED


def _help_of(error: typer.TyperException) -> str:
    """Where to read how the command is used, for one who has used it wrongly."""
    context = getattr(error, "ctx", None)
    return "" if context is None else f"; see `{context.command_path} --help`"


def _drop_output() -> None:
    """Forget what could not be printed; else the interpreter tries again at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end(message: str, code: int) -> int:
    sys.stderr.write(f"qbft: {one_line(message)}\n")
    return code
