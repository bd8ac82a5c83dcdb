"""The signer's process: its settings, its socket, and one answer after the other."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Self

import structlog
from pydantic import Field, ValidationError

from qbft.cluster import Cluster, Table, first_error, parse_toml, read_text
from qbft.errors import ClusterError
from qbft.wire.reject import RejectReason
from qbft.wire.signer import (
    SIGNER_MESSAGE_BYTES_MAX,
    SignReply,
    decode_sign_request,
    encode_sign_reply,
)
from qbft_server.config import SignerSocket
from qbft_server.epoch import epoch_of
from qbft_server.identity import load_vote_key
from qbft_server.logs import set_up_logs
from qbft_server.signer.guarded import GuardedKey
from qbft_server.signer.memory import SignerMemory

log = structlog.get_logger()

CONNECTIONS_MAX = 8
"""Connections to a signer. A node has one; the others are of its next life, and of whoever
tries something out."""

COMPLAINT_SECONDS = 10.0
"""Refusals that come sooner after one that was logged are only counted."""


class SignerConfig(Table):
    """One signer's settings. Paths in the file are relative to the file's own folder.

    `listen` is `unix:PATH`; whoever may write to that socket may have votes signed.
    """

    cluster: Path
    validator: int = Field(ge=0)
    vote_key: Path
    memory: Path
    listen: SignerSocket

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a signer's file.

        Raises:
            ClusterError: something is missing, unknown or not allowed.
        """
        try:
            config = cls.model_validate(parse_toml(read_text(path, "signer file"), str(path)))
        except ValidationError as error:
            raise ClusterError(f"{path}: {first_error(error)}") from error
        folder = path.resolve().parent
        paths = {key: folder / getattr(config, key) for key in ("cluster", "vote_key", "memory")}
        return config.model_copy(update={**paths, "listen": folder / config.listen})


def create_memory(path: Path) -> Path:
    """Make the memory of a key that has never signed; gives where.

    Raises:
        QbftError: the settings cannot be used, or it is there already.
    """
    config = SignerConfig.load(path)
    cluster = Cluster.load(config.cluster)
    SignerMemory.create(config.memory, cluster.roster.cluster_id, config.validator)
    return config.memory


def main(path: Path) -> int:
    """Run a signer until it is told to stop; the exit code of its process.

    Raises:
        QbftError: it cannot start; one line says why.
    """
    config = SignerConfig.load(path)
    set_up_logs("info", "auto")
    return asyncio.run(_run(config))


async def _run(config: SignerConfig) -> int:
    cluster = Cluster.load(config.cluster)
    if config.validator >= len(cluster.validators):
        raise ClusterError(f"validator = {config.validator}: {config.cluster} has no such one")
    key = load_vote_key(config.vote_key, cluster.validators[config.validator])
    memory = SignerMemory.open(config.memory, cluster.roster.cluster_id, config.validator)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    try:
        guarded = GuardedKey(key, cluster.roster, config.validator, memory, epoch_of(cluster))
        async with served(config.listen, guarded):
            log.info("signer is up", validator=config.validator, cluster=cluster.name)
            await stopping.wait()
    finally:
        memory.close()
    log.info("stopped")
    return 0


class _Complaints:
    """Tells the operator of refusals, but not as often as a stolen node can cause them."""

    def __init__(self) -> None:
        self._next = 0.0
        self._passed_over = 0

    def tell(self, why: str) -> None:
        """Log it, or count it for the next one that is logged."""
        now = asyncio.get_running_loop().time()
        if now < self._next:
            self._passed_over += 1
            return
        log.error("not signed", why=why, passed_over=self._passed_over)
        self._next, self._passed_over = now + COMPLAINT_SECONDS, 0


@contextlib.asynccontextmanager
async def served(path: Path, key: GuardedKey) -> AsyncIterator[None]:
    """Answer at a socket, which the signer's user and group may use, while the block lasts.

    Raises:
        ClusterError: it cannot be made there.
    """
    connections: set[asyncio.Task[None]] = set()
    complaints = _Complaints()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await _answer(reader, writer, key, complaints)

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(connections) >= CONNECTIONS_MAX:
            writer.close()
            return
        task = asyncio.get_running_loop().create_task(serve(reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    before = os.umask(0o117)
    try:
        _remove_socket(path)  # of a life before: the memory's lock says that it has ended
        server = await asyncio.start_unix_server(begin, path)
    except OSError as error:
        message = f"listen = 'unix:{path}': cannot listen there: {error.strerror or error}"
        raise ClusterError(message) from error
    finally:
        os.umask(before)
    try:
        yield
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        _remove_socket(path)


def _remove_socket(path: Path) -> None:
    """Remove a socket that is there, and nothing else."""
    if path.is_socket():
        path.unlink()


async def _answer(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    key: GuardedKey,
    complaints: _Complaints,
) -> None:
    """Answer the requests of one connection, until it ends or says something else."""
    while True:
        size = int.from_bytes(await reader.readexactly(4), "big")
        if size > SIGNER_MESSAGE_BYTES_MAX:
            return
        request = decode_sign_request(await reader.readexactly(size))
        if isinstance(request, RejectReason):
            reply = SignReply(refused=f"not a request: {request.value}")
        else:
            reply = key.answer(request)
        if reply.refused:
            complaints.tell(reply.refused)
        data = encode_sign_reply(reply)
        writer.write(len(data).to_bytes(4, "big") + data)
        await writer.drain()
