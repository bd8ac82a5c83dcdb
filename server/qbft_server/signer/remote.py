"""The node's side: a key that is somewhere else (docs/adr/015)."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from qbft.core import Message
from qbft.crypto.roster import Roster
from qbft.crypto.signing import BatchHeader, Verifier
from qbft.errors import ClusterError, JournalError
from qbft.wire.signer import (
    SIGNER_MESSAGE_BYTES_MAX,
    SignReply,
    SignRequest,
    decode_sign_reply,
    encode_sign_request,
)

SIGN_SECONDS_MAX = 2.0
"""For an answer of the signer, which may be just starting; the node does nothing meanwhile."""

_RETRY_SECONDS = 0.05


class RemoteSigner:
    """Has a node's votes signed by a process that keeps the key, one turn after the other.

    The call blocks, as the fsync of a turn does: there is nothing that a node could say before.
    """

    def __init__(self, path: Path, roster: Roster, validator: int) -> None:
        self._path = path
        self._roster = roster
        self._validator = validator
        self._verifier = Verifier(roster)
        self._socket: socket.socket | None = None

    def check(self) -> None:
        """See that the signer answers, and has this validator's key.

        Raises:
            ClusterError: it does not.
        """
        request = SignRequest(self._roster.cluster_id, self._validator, b"", 0)
        try:
            reply = self._ask(request)
        except JournalError as error:
            raise ClusterError(f"vote_signer: {error}") from error
        if reply.refused or reply.public_key != self._roster.vote_keys[self._validator]:
            why = reply.refused or "its key is not this validator's"
            raise ClusterError(f"vote_signer = 'unix:{self._path}': {why}")

    def sign(self, votes: Sequence[Message], store_id: bytes, sequence: int) -> BatchHeader:
        """Have a turn's votes signed together, and fill their proofs.

        Raises:
            JournalError: the signer refuses, does not answer, or gives no signature of these votes.
        """
        cluster_id = self._roster.cluster_id
        reply = self._ask(
            SignRequest(cluster_id, self._validator, store_id, sequence, tuple(votes))
        )
        if reply.refused:
            raise JournalError(f"the signer refuses: {reply.refused}")
        header = BatchHeader(store_id, sequence, reply.signature)
        if not self._verifier.verify_section(self._validator, votes, header):
            raise JournalError("the signer gives no signature of these votes")
        return header

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _ask(self, request: SignRequest) -> SignReply:
        """Ask; once more where the connection is gone: the same may be signed twice."""
        data = encode_sign_request(request)
        deadline = time.monotonic() + SIGN_SECONDS_MAX
        while True:
            try:
                return self._exchange(data, deadline)
            except OSError as error:
                self.close()
                if time.monotonic() + _RETRY_SECONDS >= deadline:
                    raise JournalError(
                        f"the signer at {self._path}: {error.strerror or error}"
                    ) from error
                time.sleep(_RETRY_SECONDS)

    def _exchange(self, data: bytes, deadline: float) -> SignReply:
        connection = self._connected(deadline)
        connection.sendall(len(data).to_bytes(4, "big") + data)
        size = int.from_bytes(self._read(connection, 4, deadline), "big")
        if size > SIGNER_MESSAGE_BYTES_MAX:
            raise JournalError("the signer's answer is none")
        reply = decode_sign_reply(self._read(connection, size, deadline))
        if reply is None:
            raise JournalError("the signer's answer is none")
        return reply

    def _connected(self, deadline: float) -> socket.socket:
        if self._socket is None:
            with contextlib.ExitStack() as failing:
                made = failing.enter_context(socket.socket(socket.AF_UNIX))
                made.settimeout(_left(deadline))
                made.connect(str(self._path))
                failing.pop_all()
            self._socket = made
        self._socket.settimeout(_left(deadline))
        return self._socket

    @staticmethod
    def _read(connection: socket.socket, size: int, deadline: float) -> bytes:
        data = b""
        while len(data) < size:
            connection.settimeout(_left(deadline))
            more = connection.recv(size - len(data))
            if not more:
                raise ConnectionError("it hung up")
            data += more
        return data


def _left(deadline: float) -> float:
    return max(0.001, deadline - time.monotonic())
