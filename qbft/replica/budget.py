"""What a peer's messages occupy here (DESIGN, bounds): the sender pays, whoever signed them.

Each peer has one account for all open instances; each instance has a tab, and what was paid for it
comes back when it is forgotten, at the latest when the instance closes.
"""

from __future__ import annotations

from collections.abc import Mapping

from qbft.core import Message
from qbft.replica.bounds import Bites, Bound

VOTE_BYTES = 1_024
"""What a vote occupies at most with its portable signature; its fields have a fixed size."""

FREE_VOTES_PER_SOURCE = 8
"""So many votes of one source that nest nothing enter an engine's log without being paid for: more
than an honest validator sends in the two rounds that most instances need at most."""


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
    """What each peer has paid for in one instance. Whoever has no account pays nothing: oneself.

    `bites` counts the bounds that bite here, those of whoever lets others pay too.
    """

    def __init__(self, accounts: Mapping[int, Account], bites: Bites | None = None) -> None:
        self.bites = bites or Bites()
        self._accounts = accounts
        self._paid: dict[int, int] = {}

    def charge(self, peer: int, size: int) -> bool:
        """Let a peer pay; False if it cannot."""
        account = self._accounts.get(peer)
        if account is None:
            return True
        if not account.take(size):
            self.bites.note(Bound.KEPT_BYTES_PER_PEER_MAX, peer)
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


class LogTab:
    """What the messages in an engine's log occupy, paid by who sent them until the log drops them.

    It mirrors the log, of which of each source the oldest goes (REFERENCE rule 14), when the next
    one comes.
    """

    def __init__(self, tab: Tab, per_source_max: int) -> None:
        self._tab = tab
        self._per_source_max = per_source_max
        self._entries: dict[int, list[tuple[int, int]]] = {}

    def pay(self, sender: int, message: Message) -> bool:
        """Pay for a message that is about to enter; False if the sender cannot."""
        entries = self._entries.get(message.source)
        if entries is None:
            entries = self._entries[message.source] = []
        elif len(entries) > self._per_source_max:
            self._refund(entries.pop(0))
            self._tab.bites.note(Bound.FIFO_MESSAGES_MAX, sender)
        cost = 0
        if message.justification or len(entries) >= FREE_VOTES_PER_SOURCE:
            cost = cost_of(message)
            if not self._tab.charge(sender, cost):
                return False
        entries.append((sender, cost))
        return True

    def take_back(self, message: Message) -> None:
        """Undo the last payment for this source: the message did not enter."""
        self._refund(self._entries[message.source].pop())

    def _refund(self, entry: tuple[int, int]) -> None:
        sender, cost = entry
        if cost:
            self._tab.refund(sender, cost)
