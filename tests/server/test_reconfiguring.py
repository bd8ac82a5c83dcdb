"""What `qbft reconfigure` chooses and does, and the folders of the next epoch's nodes."""

from __future__ import annotations

import json
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest
from epoch_chain import BTC, OPERATOR, cluster, decide, decision, hand_over, validator

from qbft.client import Client, Refused, Unavailable
from qbft.cluster import Cluster
from qbft.core import InstanceId
from qbft.core.messages import HEIGHT_MAX
from qbft.crypto.seal import NEVER, SEAL_TOPIC, SEAL_TOPICS_MAX, Seal, decode_seal, seal_instance
from qbft.decision import Decision
from qbft.errors import ClusterError, QbftError
from qbft.records import Standing
from qbft_server.cli import main
from qbft_server.config import NodeConfig
from qbft_server.identity import load_tls_identity, load_vote_key
from qbft_server.initialise import init_cluster
from qbft_server.joining import VALIDATOR_FILE, join, make_candidate
from qbft_server.reconfiguring import (
    ATTEMPTS_MAX,
    choose_seal,
    read_members,
    successor_of,
)
from qbft_server.reconfiguring import hand_over as reconfigure
from qbft_server.store.store import NodeStore

NEXT = bytes(32)
OLD = cluster(0, (1, 2, 3, 4), operators=(OPERATOR,))
NEW = successor_of(OLD, [validator(number) for number in (1, 2, 3, 5)], 1)


def chosen(answers: Sequence[dict[str, int]], begins: Seal | None = None) -> Seal:
    """The seal with a margin of 10, one of four faulty."""
    return choose_seal(NEXT, answers, 1, margin=10, begins=begins)


def test_liars_move_no_first_height() -> None:
    """Issue 6, epochs: of each topic the (f+1)th highest answer and the margin."""
    answers = [{BTC: 7}, {BTC: 2**62, "made-up": 3}, {BTC: 9}, {BTC: 8, SEAL_TOPIC: 0}]
    assert chosen(answers) == Seal(NEXT, 0, ((BTC, 20),))
    assert chosen([{BTC: HEIGHT_MAX}] * 4) == Seal(NEXT, 0, ((BTC, NEVER),))
    assert chosen([]) == Seal(NEXT, 0)


def test_no_seal_begins_below_its_own_epoch() -> None:
    """What is chosen is valid: no topic changes over lower than by the seal before."""
    begins = Seal(NEXT, 5, ((BTC, 100), ("x", 3)))
    seal = chosen([{BTC: 1, "y": 50}] * 4, begins)
    assert seal == Seal(NEXT, 5, ((BTC, 100), ("x", 3), ("y", 61)))
    assert seal.follows(begins)


def test_more_topics_than_a_seal_names() -> None:
    """DESIGN, bounds: those that have come least far change over together, above all of them."""
    answer = {f"t{number}": number for number in range(SEAL_TOPICS_MAX + 3)}
    seal = chosen([answer] * 2)
    assert len(seal.first_heights) == SEAL_TOPICS_MAX
    assert seal.default == 13
    assert all(seal.first_height(topic) > height for topic, height in answer.items())


class Asked:
    """A client of the old cluster; `outcomes` is what each proposal of a seal comes to."""

    def __init__(self, *outcomes: Exception | Decision | None, answering: int = 4) -> None:
        self.outcomes = list(outcomes)
        self.answering = answering
        self.seals: list[Seal] = []

    async def heights(self) -> dict[int, object]:
        """As many nodes answer as do."""
        down = Unavailable("down", node=3)
        return {node: {BTC: 7} if node < self.answering else down for node in range(4)}

    async def propose(
        self,
        topic: str,
        height: int,
        value: bytes,
        *,
        timeout: float,  # noqa: ASYNC109 - as the client has it
    ) -> Decision:
        """Give the next outcome; None is that this seal is decided."""
        assert (topic, height) == (SEAL_TOPIC, 0)
        self.seals.append(decode_seal(value))
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome or decision(OLD, (1, 2, 3, 4), seal_instance(0), value)


async def run(asked: Asked) -> Cluster:
    """Reconfigure from OLD to NEW."""
    return await reconfigure(cast("Client", asked), OLD, NEW, margin=10)


REFUSED = Refused("too low", code="FAILED_PRECONDITION", node=1)


async def test_a_refused_seal_is_followed_by_a_higher_one() -> None:
    """Issue 6, epochs: when it fails, another one for the same instance, with more room."""
    asked = Asked(REFUSED, REFUSED, None, answering=3)
    new = await run(asked)
    assert [seal.first_height(BTC) for seal in asked.seals] == [18, 48, 168]
    assert new.ended[0].seal == asked.seals[-1]
    assert (new.epoch, new.operators, new.faults) == (1, OLD.operators, 1)
    assert Cluster.parse(new.dump()) == new


async def test_topics_that_are_begun_all_the_time_do_not_keep_an_epoch_alive() -> None:
    """There is always one that nobody had told of: from the fourth seal on it has room too."""
    asked = Asked(*[REFUSED] * 4, None)
    await run(asked)
    assert [seal.first_height("new") for seal in asked.seals] == [0, 0, 0, 10, 10]


async def test_it_may_be_done_again() -> None:
    """A seal for the same successor that was decided before is taken as it is."""
    earlier = Seal(NEW.roster.cluster_id, 3)
    asked = Asked(decision(OLD, (1, 2, 3, 4), seal_instance(0), earlier.encode()))
    assert (await run(asked)).ended[0].seal == earlier


async def test_what_ends_without_a_cluster_file() -> None:
    """Each says why: another successor, too few nodes, no attempt that came through."""
    other = decision(OLD, (1, 2, 3, 4), seal_instance(0), Seal(NEXT, 0).encode())
    for asked, why in (
        (Asked(other), "handed over to another cluster"),
        (Asked(answering=2), "2 of 4 nodes"),
        (Asked(*[REFUSED] * ATTEMPTS_MAX), "in 6 attempts: node 1"),
    ):
        with pytest.raises(QbftError, match=why):
            await run(asked)


def test_a_next_epoch_that_cannot_be() -> None:
    """As any cluster file, before anything is asked."""
    with pytest.raises(ClusterError, match=r"the next epoch: vote_key .* is given twice"):
        successor_of(OLD, [validator(1), validator(1)], None)


def test_candidates_join_what_was_sealed(tmp_path: Path) -> None:
    """Keys stay on their host; a node gets its place and an empty store, and nothing twice."""
    init_cluster(tmp_path / "old")
    made = [
        make_candidate(tmp_path / "n0", "127.0.0.1", 7500, tmp_path / "old" / "node-0"),
        make_candidate(tmp_path / "n1", "node.example", 7600),
    ]
    files = [tmp_path / name / VALIDATOR_FILE for name in ("n0", "n1")]
    assert list(read_members(files)) == made
    kept = Cluster.load(tmp_path / "old" / "cluster.toml").validators[0]
    assert (made[0].vote_key, made[0].tls_key_sha256) == (kept.vote_key, kept.tls_key_sha256)
    draft = successor_of(OLD, [*made, validator(3), validator(4)], None)
    seal = Seal(draft.roster.cluster_id, 0)
    new = draft.model_copy(update={"predecessors": hand_over(OLD, (1, 2, 3, 4), seal)})
    (tmp_path / "new.toml").write_text(new.dump())
    for index in range(2):
        node_file = join(tmp_path / f"n{index}", tmp_path / "new.toml")
        assert stat.S_IMODE(node_file.stat().st_mode) == 0o600
        config = NodeConfig.load(node_file)
        loaded, own = config.load_cluster()
        assert (config.validator, own) == (index, made[index])
        load_vote_key(config.vote_key, own)
        load_tls_identity(config.tls_key, own)
        store = NodeStore.open(config.data, loaded.roster.cluster_id, index)
        assert store.standing is Standing.UNVOTED
        store.journal.close()
    assert NodeConfig.load(tmp_path / "n1" / "node.toml").listen.admin == "127.0.0.1:7602"
    with pytest.raises(ClusterError, match="never overwrites"):
        join(tmp_path / "n0", tmp_path / "new.toml")
    with pytest.raises(ClusterError, match="is not empty"):
        make_candidate(tmp_path / "n0", "127.0.0.1", 7500)


def test_nobody_joins_without_a_seal(tmp_path: Path) -> None:
    """A node that does not know its first heights could decide what the old epoch has decided."""
    made = make_candidate(tmp_path / "n0", "127.0.0.1", 7500)
    draft = successor_of(OLD, [made, *map(validator, (2, 3, 4))], None)
    (tmp_path / "draft.toml").write_text(draft.dump())
    with pytest.raises(ClusterError, match="names no predecessor"):
        join(tmp_path / "n0", tmp_path / "draft.toml")
    (tmp_path / "old.toml").write_text(OLD.dump())
    make_candidate(tmp_path / "n1", "127.0.0.1", 7600)
    seal = Seal(draft.roster.cluster_id, 0)
    new = draft.model_copy(update={"predecessors": hand_over(OLD, (1, 2, 3, 4), seal)})
    (tmp_path / "new.toml").write_text(new.dump())
    with pytest.raises(ClusterError, match="has no validator with the vote key"):
        join(tmp_path / "n1", tmp_path / "new.toml")


def test_the_commands_say_what_they_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`qbft candidate`, `join` and `verify --trusted`, as an operator types them."""
    folder, new_file = tmp_path / "n0", tmp_path / "new.toml"
    assert main(["candidate", str(folder), "--base-port", "7500", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    (own,) = read_members([Path(made["validator_file"])])
    assert own.vote_key == made["vote_key"]
    draft = successor_of(OLD, [own, *map(validator, (2, 3, 4))], None)
    seal = Seal(draft.roster.cluster_id, 0, ((BTC, 9),))
    new = draft.model_copy(update={"predecessors": hand_over(OLD, (1, 2, 3, 4), seal)})
    new_file.write_text(new.dump())
    assert main(["join", str(folder), str(new_file)]) == 0
    assert f"qbft node {folder / 'node.toml'}" in capsys.readouterr().out.replace("\n", "")
    certificate = tmp_path / "old.decision"
    certificate.write_bytes(decide(OLD, (1, 2, 3, 4), InstanceId(BTC, 8), b"v"))
    (tmp_path / "old.toml").write_text(OLD.dump())
    (tmp_path / "other.toml").write_text(cluster(0, (1, 2, 3, 8)).dump())
    verify = ["verify", str(certificate), "--cluster", str(new_file), "--trusted"]
    assert main([*verify, str(tmp_path / "old.toml")]) == 0
    assert "genuine" in capsys.readouterr().out
    assert main([*verify, str(tmp_path / "other.toml")]) == 1
    assert "no seals lead to it" in capsys.readouterr().err


@pytest.mark.parametrize(("host", "port"), [("no host", 7400), ("a", 65_535)])
def test_addresses_that_cannot_be(tmp_path: Path, host: str, port: int) -> None:
    """One line, and nothing is made."""
    with pytest.raises(ClusterError, match="must be HOST:PORT"):
        make_candidate(tmp_path / "n", host, port)
    assert not (tmp_path / "n").exists()


def test_a_file_of_validators_holds_nothing_else(tmp_path: Path) -> None:
    """A cluster file is none: its name and epoch would be passed over."""
    path = tmp_path / "cluster.toml"
    path.write_text(OLD.dump())
    with pytest.raises(ClusterError, match="unknown key 'name'; allowed: validators"):
        read_members([path])
