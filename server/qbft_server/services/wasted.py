"""Proposals that no node takes: each is checked before it is refused, which is work for nothing."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterator

from qbft.errors import UnauthorisedProposal
from qbft.replica.bounds import Bites
from qbft.replica.driver import now_ms
from qbft.replica.peer import TokenBucket
from qbft_server.bounds import NodeBound
from qbft_server.services.refusal import full

WASTED_CHECKS_MAX = 256
WASTED_CHECKS_PER_SECOND_MAX = 32
"""Checks of proposals that are refused for their signature, for one client at once, and how many
more each second: a hundredth of a processor or so. Beyond, it is told to come back."""

BYTES_PER_CHECK = 64 * 1024
"""So many bytes of a value take about as long to be hashed as a signature to be checked."""

WASTERS_KEPT_MAX = 4_096
"""Clients of which it is remembered what they have wasted."""

RETRY_MS = 1_000


class Wasted:
    """What clients have wasted, by client."""

    def __init__(self, bites: Bites) -> None:
        self._bites = bites
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    @contextlib.contextmanager
    def checking(self, client: str, size: int) -> Iterator[None]:
        """Around the check of a proposal with a value of so many bytes.

        Raises:
            Refusal: this client has wasted too much.
        """
        bucket = self._buckets.get(client)
        if bucket is not None and bucket.overdraw(now_ms(), 0):
            self._bites.note(NodeBound.WASTED_CHECKS_MAX)
            raise full("too many proposals of this client were not authorised", RETRY_MS)
        try:
            yield
        except UnauthorisedProposal:
            self._note(client, 1 + size / BYTES_PER_CHECK)
            raise

    def _note(self, client: str, checks: float) -> None:
        bucket = self._buckets.get(client)
        if bucket is None:
            bucket = TokenBucket(WASTED_CHECKS_MAX, WASTED_CHECKS_PER_SECOND_MAX / 1_000)
            self._buckets[client] = bucket
        bucket.overdraw(now_ms(), checks)
        self._buckets.move_to_end(client)
        if len(self._buckets) > WASTERS_KEPT_MAX:
            self._buckets.popitem(last=False)
