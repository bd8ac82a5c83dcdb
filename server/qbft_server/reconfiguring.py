"""Handing over to the next epoch: from a running cluster's decision to the next cluster file.

docs/adr/013-epochs.md says why it is safe; docs/OPERATIONS.md what the operator does.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import Field, ValidationError

from qbft.client import Client, ClientError, DeadlineExceeded, Refused
from qbft.cluster import (
    VALIDATORS_MAX,
    Cluster,
    Predecessor,
    Table,
    Validator,
    first_error,
    parse_toml,
    read_text,
)
from qbft.crypto.seal import NEVER, SEAL_TOPIC, SEAL_TOPICS_MAX, Seal, decode_seal
from qbft.decision import Decision
from qbft.errors import ClusterError, QbftError
from qbft.wire import encode_decision

MARGIN = 100
MARGIN_GROWTH = 4
ATTEMPTS_MAX = 6
"""Seals that are proposed, each with later heights, before `qbft reconfigure` gives up."""

NEW_TOPICS_ATTEMPT = 4
"""From this attempt on topics that nobody has named yet begin in the next epoch at the margin too:
where new ones are begun all the time, there is always one that was when nobody had told of it."""

ATTEMPT_SECONDS = 20.0


class Members(Table):
    """Validators of an epoch to come, in the form in which a cluster file has them."""

    validators: tuple[Validator, ...] = Field(min_length=1, max_length=VALIDATORS_MAX)


def read_members(paths: Sequence[Path]) -> tuple[Validator, ...]:
    """The validators of these files, one after the other.

    Raises:
        ClusterError: one cannot be used.
    """
    found: list[Validator] = []
    for path in paths:
        table = parse_toml(read_text(path, "file of validators"), str(path))
        try:
            found += Members.model_validate(table).validators
        except ValidationError as error:
            raise ClusterError(f"{path}: {first_error(error)}") from error
    return tuple(found)


def successor_of(old: Cluster, validators: Sequence[Validator], faults: int | None) -> Cluster:
    """The next epoch's cluster, as yet without the seal, so that it must not be written down.

    Raises:
        ClusterError: these cannot be a cluster.
    """
    try:
        return Cluster(
            name=old.name,
            epoch=old.epoch + 1,
            faults=faults,
            validators=tuple(validators),
            prefixes=old.prefixes,
            operators=old.operators,
        )
    except ValidationError as error:
        raise ClusterError(f"the next epoch: {first_error(error)}") from error


def choose_seal(
    successor: bytes,
    answers: Sequence[dict[str, int]],
    faulty: int,
    *,
    margin: int,
    begins: Seal | None = None,
    default: int = 0,
) -> Seal:
    """A seal that a quorum can accept, by what the nodes say of how far their topics have come.

    Of each topic the (f+1)th highest answer counts, so that liars push none away, and `margin` is
    added; a topic that f nodes or fewer name is the successor's from `default` on, as are those to
    come.
    No topic begins below where it has begun in this epoch, `begins`.
    """
    named: dict[str, list[int]] = {}
    for answer in answers:
        for topic, height in answer.items():
            if topic != SEAL_TOPIC:
                named.setdefault(topic, []).append(height)
    first = {
        topic: min(sorted(heights, reverse=True)[faulty] + 1 + margin, NEVER)
        for topic, heights in named.items()
        if len(heights) > faulty
    }
    if begins is not None:
        default = max(default, begins.default)
        for topic in first.keys() | dict(begins.first_heights):
            first[topic] = max(first.get(topic, 0), begins.first_height(topic))
    highest = sorted(first, key=lambda topic: (-first[topic], topic))
    for topic in highest[SEAL_TOPICS_MAX:]:
        default = max(default, first.pop(topic))
    return Seal(successor, default, tuple(sorted(first.items())))


async def hand_over(
    client: Client,
    old: Cluster,
    new: Cluster,
    *,
    margin: int = MARGIN,
    attempt_seconds: float = ATTEMPT_SECONDS,
    tell: Callable[[str], None] = lambda _: None,
) -> Cluster:
    """Have the old cluster decide the seal; gives the new one, with it, ready to be written down.

    Each attempt asks how far the topics have come, and leaves more room than the one before.
    Asking again after any failure does no harm.

    Args:
        client: of the old cluster; it signs as an operator.
        old: the cluster that ends its epoch.
        new: what `successor_of` gave.
        margin: heights between what nodes say and where the new epoch begins, at first.
        attempt_seconds: how long one attempt may take.
        tell: is told of each attempt.

    Raises:
        QbftError: too few nodes answer, no attempt was decided, or another seal is decided already.
    """
    begins = old.ended[-1].seal if old.ended else None
    failure: ClientError | None = None
    for attempt in range(ATTEMPTS_MAX):
        answers = [a for a in (await client.heights()).values() if isinstance(a, dict)]
        if len(answers) < old.roster.quorum:
            raise QbftError(
                f"{len(answers)} of {old.roster.nodes} nodes say how far they have come; "
                f"{old.roster.quorum} are needed to decide a seal"
            )
        room = margin * MARGIN_GROWTH**attempt
        seal = choose_seal(
            new.roster.cluster_id,
            answers,
            old.roster.faulty,
            margin=room,
            begins=begins,
            default=margin if attempt + 1 >= NEW_TOPICS_ATTEMPT else 0,
        )
        tell(
            f"attempt {attempt + 1}: {len(seal.first_heights)} topics named, margin {room}, "
            f"all others from height {seal.default} on"
        )
        try:
            decision = await client.propose(
                SEAL_TOPIC, old.epoch, seal.encode(), timeout=attempt_seconds
            )
        except (DeadlineExceeded, Refused) as error:
            failure = error
            continue
        return _sealed(old, new, decision)
    raise QbftError(f"no seal was decided in {ATTEMPTS_MAX} attempts: {failure}") from failure


def _sealed(old: Cluster, new: Cluster, decision: Decision) -> Cluster:
    """The new cluster with the seal that was decided, which may be one of an earlier run."""
    seal = decode_seal(decision.value if isinstance(decision.value, bytes) else b"")
    if seal.successor != new.roster.cluster_id:
        raise QbftError(
            f"epoch {old.epoch} has been handed over to another cluster, id {seal.successor.hex()}"
        )
    proof = encode_decision(Decision(decision.value, decision.certificate))
    predecessor = Predecessor(
        epoch=old.epoch,
        vote_keys=tuple(validator.vote_key for validator in old.validators),
        seal=base64.b64encode(proof).decode(),
    )
    settled = new.model_copy(update={"predecessors": (*old.predecessors, predecessor)})
    return Cluster.parse(settled.dump(), "the next epoch")
