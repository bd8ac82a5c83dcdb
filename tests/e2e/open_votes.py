"""A journal as a node leaves it that is killed with very many instances undecided."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from qbft.cluster import Cluster
from qbft.core import InstanceId, Message, MessageType, Proof
from qbft.crypto.proposal import Proposal
from qbft.crypto.signing import BatchSigner
from qbft.records import ProposalRecord, Record, VoteRecord
from qbft_server.identity import load_vote_key
from qbft_server.store.store import NodeStore

BATCH_INSTANCES = 64


async def write_open_votes(
    directory: Path, cluster: Cluster, node: int, topic: str, heights: Sequence[int]
) -> int:
    """Journal an input, a PREPARE and a COMMIT with its PREPAREs for each height.

    The node leads none of them in round 1. All votes are signed with the real keys, in batches as a
    busy node's turns are. Gives how many own votes there are.
    """
    roster = cluster.roster
    keys = [
        load_vote_key(directory / f"node-{i}" / "vote.key", validator)
        for i, validator in enumerate(cluster.validators)
    ]
    signers = [BatchSigner(key, roster, i) for i, key in enumerate(keys)]
    store = NodeStore.open(directory / f"node-{node}" / "data", roster.cluster_id, node)
    others = [i for i in range(roster.nodes) if i != node][: roster.quorum - 1]
    sequences = dict.fromkeys(others, 1)
    written = 0
    try:
        for start in range(0, len(heights), BATCH_INSTANCES):
            chunk = heights[start : start + BATCH_INSTANCES]
            proposals = [Proposal(InstanceId(topic, h), b"value of %d" % h) for h in chunk]
            mine = [
                Message(kind, p.instance, node, 1, p.digest, proof=Proof())
                for p in proposals
                for kind in (MessageType.PREPARE, MessageType.COMMIT)
            ]
            theirs: dict[int, list[Message]] = {}
            for other in others:
                theirs[other] = [
                    Message(MessageType.PREPARE, p.instance, other, 1, p.digest, proof=Proof())
                    for p in proposals
                ]
                signers[other].sign(theirs[other], bytes(16), sequences[other])
                sequences[other] += len(chunk)
            signers[node].sign(mine, store.store_id, store.next_sequence)
            await store.commit(list(_records(proposals, mine, list(theirs.values()))))
            written += len(mine)
    finally:
        await store.aclose()
    return written


def _records(
    proposals: list[Proposal], mine: list[Message], theirs: list[list[Message]]
) -> Iterator[Record]:
    for index, proposal in enumerate(proposals):
        prepare, commit = mine[2 * index], mine[2 * index + 1]
        yield ProposalRecord(proposal, is_input=True)
        yield VoteRecord(prepare)
        yield VoteRecord(commit, (prepare, *(votes[index] for votes in theirs)))
