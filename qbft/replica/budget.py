"""What a peer's messages occupy here (DESIGN, bounds): the sender pays, whoever signed them.

Each peer has one account for all open instances; each instance has a tab, and what was paid for it
comes back when it is forgotten, at the latest when the instance closes.
"""

from __future__ import annotations

from collections.abc import Mapping

from qbft.core import Message

VOTE_BYTES = 1_024
"""What a vote occupies at most with its portable signature; its fields have a fixed size."""

ENTRY_BYTES = 256
"""What it costs to remember that something was seen."""


def cost_of(message: Message) -> int:
    """Give the bytes that a message occupies, those it nests included."""
    return VOTE_BYTES * (1 + len(message.justification))


class Account:
    """One peer's account, in bytes."""

    def __init__(self, bytes_max: int) -> None:
        self.spent = 0
        self._bytes_max = bytes_max

    def take(self, size: int) -> bool:
        """Whether so much was left; it is spent now."""
        if self.spent + size > self._bytes_max:
            return False
        self.spent += size
        return True


class Tab:
    """What each peer has paid for in one instance. Whoever has no account pays nothing: oneself."""

    def __init__(self, accounts: Mapping[int, Account]) -> None:
        self._accounts = accounts
        self._paid: dict[int, int] = {}

    def charge(self, peer: int, size: int) -> bool:
        """Let a peer pay; False if it cannot."""
        account = self._accounts.get(peer)
        if account is None:
            return True
        if not account.take(size):
            return False
        self._paid[peer] = self._paid.get(peer, 0) + size
        return True

    def refund(self, peer: int, size: int) -> None:
        """Give back what is not occupied any more."""
        account = self._accounts.get(peer)
        if account is not None:
            account.spent -= size
            self._paid[peer] -= size

    def close(self) -> None:
        """Give everything back."""
        for peer, size in self._paid.items():
            self._accounts[peer].spent -= size
        self._paid.clear()
