"""Cluster files of later epochs, and certificates of all of them (issue 6, epochs)."""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import cache

import pytest
from epoch_chain import BTC, OPERATOR, cluster, decide, hand_over

from qbft.cluster import Cluster
from qbft.core import InstanceId
from qbft.crypto.seal import SEAL_TOPIC, Seal, seal_instance
from qbft.errors import CertificateError, ClusterError
from qbft.replica.policy import TopicPolicy
from qbft.verify import verify

FIRST, SECOND, THIRD = (1, 2, 3, 4), (1, 2, 3, 5), (6, 2, 3, 5, 7)
OTHERS = (8, 9, 10, 11)


@cache
def chain() -> tuple[Cluster, Cluster, Cluster]:
    """Three epochs: one validator replaced, then another one, and a fifth added."""
    first = cluster(0, FIRST, operators=(OPERATOR,))
    seal = Seal(cluster(1, SECOND).roster.cluster_id, 0, ((BTC, 10),))
    second = cluster(1, SECOND, operators=(OPERATOR,), predecessors=hand_over(first, FIRST, seal))
    seal = Seal(cluster(2, THIRD).roster.cluster_id, 5, ((BTC, 20),))
    return first, second, cluster(2, THIRD, predecessors=hand_over(second, SECOND, seal))


def test_a_later_epochs_file_is_what_was_dumped() -> None:
    """`qbft reconfigure` writes the file; nodes and clients load it, and verify its seals."""
    for each in chain():
        assert Cluster.parse(each.dump()) == each
    assert [ended.epoch for ended in chain()[2].ended] == [0, 1]


def test_each_topic_begins_where_the_epoch_before_ended() -> None:
    """docs/adr/017: there an ordered topic's next epoch begins, and its window of requests."""
    first, second, third = chain()
    assert [each.first_height(BTC) for each in (first, second, third)] == [0, 10, 20]
    assert [each.first_height("other") for each in (first, second, third)] == [0, 0, 5]


def test_the_cluster_id_does_not_depend_on_predecessors() -> None:
    """DESIGN 4: name, epoch, n and vote keys; a seal names the id before it is decided."""
    assert chain()[2].roster == cluster(2, THIRD).roster


@pytest.mark.parametrize(
    ("instance", "epoch"),
    [
        (InstanceId(BTC, 0), 0),
        (InstanceId(BTC, 9), 0),
        (InstanceId(BTC, 10), 1),
        (InstanceId(BTC, 19), 1),
        (InstanceId(BTC, 20), 2),
        (InstanceId("other", 0), 1),
        (InstanceId("other", 4), 1),
        (InstanceId("other", 5), 2),
        (seal_instance(0), 0),
        (seal_instance(1), 1),
        (seal_instance(2), 2),
    ],
)
def test_old_certificates_still_verify(instance: InstanceId, epoch: int) -> None:
    """Issue 6, epochs: the last file verifies each instance by the epoch that had to decide it."""
    last = chain()[2]
    for by, numbers in zip(chain(), (FIRST, SECOND, THIRD), strict=True):
        data = decide(by, numbers, instance, b"v")
        if by.epoch == epoch and by.epoch < 2:
            assert verify(data, last).value == b"v"
        elif by.epoch != epoch:
            with pytest.raises(CertificateError):
                verify(data, last)


def test_whoever_trusts_an_old_cluster_can_tell_its_descendants() -> None:
    """Issue 6, epochs: a chain of cluster files, each vouched for by the validators before."""
    first, second, last = chain()
    assert last.descends_from(first)
    assert last.descends_from(second)
    assert last.descends_from(last)
    assert not first.descends_from(last)
    assert not last.descends_from(cluster(0, (1, 2, 3, 8)))


def test_no_epoch_is_put_before_a_trusted_one() -> None:
    """Else one key, which nobody knows, would decide for all heights of a cluster that is trusted.

    Such an epoch vouches for itself: its seal names the trusted cluster, and is genuine.
    """
    _, second, last = chain()
    forged = cluster(0, OTHERS)
    for trusted in (cluster(1, SECOND), second):
        seal = Seal(trusted.roster.cluster_id, 2**63)
        forged_before = cluster(1, SECOND, predecessors=hand_over(forged, OTHERS, seal))
        data = decide(forged, OTHERS, InstanceId(BTC, 0), b"v")
        assert verify(data, forged_before).value == b"v", "the file is consistent in itself"
        assert not forged_before.descends_from(trusted)
    only_the_last = last.model_copy(update={"predecessors": last.predecessors[1:]})
    assert only_the_last.descends_from(second), "it says less of what was before, and nothing else"
    assert not last.descends_from(cluster(1, SECOND)), (
        "nobody that is trusted vouches for the first"
    )


def test_five_validators_need_four() -> None:
    """The quorum is that of the epoch that decides."""
    data = decide(chain()[2], THIRD, InstanceId(BTC, 20), b"v")
    with pytest.raises(CertificateError, match="3 COMMITs are no quorum: 4 of 5"):
        verify(data, chain()[2])


def test_a_file_without_predecessors_verifies_only_its_own_epoch() -> None:
    """As before there were seals: no instance is another epoch's."""
    data = decide(chain()[1], SECOND, InstanceId(BTC, 0), b"v")
    assert verify(data, cluster(1, SECOND)).value == b"v"
    with pytest.raises(CertificateError):
        verify(data, chain()[0])


def refused(change: Callable[[str], str], what: Cluster | None = None) -> str:
    """What is said of the last epoch's file after a change."""
    with pytest.raises(ClusterError) as caught:
        Cluster.parse(change((what or chain()[2]).dump()), "f")
    return str(caught.value)


def test_a_seal_that_proves_nothing_is_refused() -> None:
    """A cluster file with a predecessor that did not hand over is not usable."""
    first, second, last = chain()
    other = cluster(0, (1, 2, 3, 8))
    seal = Seal(cluster(1, SECOND).roster.cluster_id, 0)
    forged = hand_over(other, FIRST, seal)[0].model_copy(
        update={"vote_keys": tuple(v.vote_key for v in first.validators)}
    )
    cases = {
        "signature of validator 0 is not valid": forged,
        "names another successor": hand_over(first, FIRST, Seal(bytes(32), 0))[0],
        "decides x/0, not qbft/seal/0": forged.model_copy(
            update={"seal": encoded(decide(first, FIRST, InstanceId("x", 0), seal.encode()))}
        ),
        "no decision of a seal: not a list": forged.model_copy(
            update={"seal": encoded(decide(first, FIRST, seal_instance(0), b"qbft"))}
        ),
        "malformed": forged.model_copy(update={"seal": encoded(b"\xff")}),
        "is not base64": forged.model_copy(update={"seal": "?"}),
    }
    for why, predecessor in cases.items():
        text = second.model_copy(update={"predecessors": (predecessor,)}).dump()
        assert why in refused(lambda _, text=text: text)
    assert "are not those before it" in refused(lambda text: text.replace("epoch = 2", "epoch = 3"))
    one_missing = last.model_copy(update={"predecessors": last.predecessors[:1]})
    assert "are not those before it" in refused(lambda _: one_missing.dump())
    only_the_last = last.model_copy(update={"predecessors": last.predecessors[1:]})
    assert Cluster.parse(only_the_last.dump()).roster_of(InstanceId(BTC, 0)) == second.roster


def encoded(data: bytes) -> str:
    """The bytes as a cluster file holds them."""
    return base64.b64encode(data).decode()


def test_no_seal_reaches_into_an_earlier_epoch() -> None:
    """Two epochs never claim one instance, even where a seal's validators were careless."""
    second = chain()[1]
    low = Seal(cluster(2, THIRD).roster.cluster_id, 5, ((BTC, 9),))
    predecessors = hand_over(second, SECOND, low)
    text = chain()[2].model_copy(update={"predecessors": predecessors}).dump()
    assert "reaches into an earlier epoch" in refused(lambda _: text)


def test_only_operators_propose_seals() -> None:
    """Issue 6, epochs: the reserved topic is guarded by the operators' keys, not by prefixes."""
    operators = frozenset({bytes.fromhex(OPERATOR)})
    assert chain()[0].policy(SEAL_TOPIC) == TopicPolicy(proposers=operators, prefix=SEAL_TOPIC)
    assert chain()[0].policy("qbft/seals") == TopicPolicy()
