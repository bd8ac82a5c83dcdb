"""A node's configuration: file and environment, checked once, refused in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qbft.cluster import Prefix
from qbft.errors import ClusterError
from qbft_server.config import NodeConfig
from qbft_server.initialise import init_cluster
from qbft_server.store.retention import RetentionRule

FILE = """
cluster = "../cluster.toml"
validator = 0
data = "data"
vote_key = "vote.key"
tls_key = "tls.key"

[listen]
peer = "127.0.0.1:7400"
client = "127.0.0.1:7401"

[clients]
tokens = ["correct-horse-battery"]

[limits]
value_bytes_max = 1000

[timer]
cap_ms = 60000

[log]
level = "info"
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A node file in a folder of its own, and none of our variables."""
    for variable in os.environ:
        if variable.startswith("QBFT_"):
            monkeypatch.delenv(variable)
    path = tmp_path / "node-0" / "node.toml"
    path.parent.mkdir()
    path.write_text(FILE)
    return path


def refusal(path: Path) -> str:
    """The one line with which a configuration is refused."""
    with pytest.raises(ClusterError) as caught:
        NodeConfig.load(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_paths_are_seen_from_the_file(path: Path) -> None:
    """A node can be started from any directory."""
    config = NodeConfig.load(path)
    assert config.data == path.parent / "data"
    assert config.cluster.resolve() == path.parent.parent / "cluster.toml"
    assert config.vote_key == path.parent / "vote.key"
    assert config.limits.message_bytes_max == 1000 + 256 * 1024
    assert config.listen.admin is None
    assert not config.clients.insecure_plaintext


def test_the_vote_key_is_here_or_elsewhere(path: Path) -> None:
    """docs/adr/015: a file, or the socket of who has it; seen from the file as all paths."""
    path.write_text(FILE.replace('vote_key = "vote.key"', 'vote_signer = "unix:signer.sock"'))
    config = NodeConfig.load(path)
    assert (config.vote_key, config.vote_signer) == (None, path.parent / "signer.sock")
    path.write_text(FILE.replace('vote_key = "vote.key"', 'vote_signer = "signer.sock"'))
    assert "vote_signer = 'signer.sock': must be unix:PATH" in refusal(path)
    for keys in ("", 'vote_key = "vote.key"\nvote_signer = "unix:signer.sock"'):
        path.write_text(FILE.replace('vote_key = "vote.key"', keys))
        assert "needs vote_key or vote_signer, and not both" in refusal(path)


def test_the_environment_wins_over_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One image, many nodes: nested keys are joined by two underscores."""
    monkeypatch.setenv("QBFT_VALIDATOR", "3")
    monkeypatch.setenv("QBFT_LISTEN__CLIENT", "0.0.0.0:9000")
    monkeypatch.setenv("QBFT_LOG__LEVEL", "debug")
    config = NodeConfig.load(path)
    assert config.validator == 3
    assert config.listen.client == "0.0.0.0:9000"
    assert config.listen.peer == "127.0.0.1:7400"
    assert config.log.level == "debug"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("validator = 0", "validator = -1", "validator = -1: must be greater than or equal to 0"),
        ("validator = 0", "", "validator: is missing"),
        ('data = "data"', 'dada = "data"', "unknown key 'dada'; allowed: cluster, validator, data"),
        ('level = "info"', 'level = "loud"', "log.level = 'loud': must be 'debug', 'info'"),
        (
            "cap_ms = 60000",
            "cap_ms = 5",
            "timer.cap_ms = 5: must be greater than or equal to 60000",
        ),
        ("cap_ms", "cap", "timer: unknown key 'cap'; allowed: kind, first_round_ms, cap_ms"),
        ("7401", "99999", "listen.client = '127.0.0.1:99999': must be HOST:PORT"),
        ("value_bytes_max = 1000", "value_bytes_max = 0", "limits.value_bytes_max = 0: must be"),
        (
            "value_bytes_max = 1000",
            "value_bytes_max = 60_000_000",
            "limits: peer_queue_bytes_max = 33554432 must hold one message",
        ),
        ("[clients]", "[clients]\ninsecure_plaintext = true", "clients: insecure_plaintext would"),
        ("[log]", "[log", "not valid TOML"),
        ("validator", "_env_file = 1\nvalidator", "unknown key '_env_file'; allowed: cluster"),
        ("validator", "_cli_parse_args = 1\nvalidator", "unknown key '_cli_parse_args'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(path: Path, old: str, new: str, words: str) -> None:
    """Issue 2: every error names the key, the value and what is allowed."""
    assert old in FILE
    path.write_text(FILE.replace(old, new, 1))
    message = refusal(path)
    assert message.startswith(f"{path}: ")
    assert words in message


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("QBFT_LOG__LEVEL", "loud", "environment QBFT_LOG__LEVEL: log.level = 'loud': must be"),
        ("QBFT_VALIDATOR", "zero", "environment QBFT_VALIDATOR: validator = 'zero': must be"),
        ("QBFT_LISTEN", "{", "environment: "),
        ("QBFT_LOG__LEVLE", "info", "log: unknown key 'levle'; allowed: level, format"),
        (
            "QBFT_LISTN__PEER",
            "x:1",
            "environment: QBFT_LISTN__PEER is no setting; allowed: cluster",
        ),
    ],
)
def test_a_wrong_variable_is_named(
    path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: str
) -> None:
    """A misspelled or unusable variable is refused, never passed over."""
    monkeypatch.setenv(variable, value)
    assert words in refusal(path)


def test_the_variables_of_tests_and_command_line_are_left_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault hooks and the path of the file itself are no settings of the file."""
    monkeypatch.setenv("QBFT_TEST_FAULTS", "1")
    monkeypatch.setenv("QBFT_CONFIG", str(path))
    assert NodeConfig.load(path).validator == 0


def test_a_token_is_never_shown(path: Path) -> None:
    """Neither by an error that is about it nor by printing the settings."""
    assert "correct-horse" not in repr(NodeConfig.load(path))
    path.write_text(FILE.replace("correct-horse-battery", "short-secret"))
    message = refusal(path)
    assert "clients.tokens.0: must be 16 to 512 printable ASCII" in message
    assert "short-secret" not in message


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    """Issue 2, bad input."""
    assert "cannot read the node file: No such file" in refusal(tmp_path / "node.toml")


def with_retention(path: Path, *entries: str) -> None:
    """Add entries of [[retention]]."""
    path.write_text(FILE + "".join(f"\n[[retention]]\n{entry}\n" for entry in entries))


def test_retention_is_by_topic_prefix(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Policies count decisions or age (DESIGN, retention); the environment gives them as JSON."""
    with_retention(path, 'prefix = ""\nkeep_days = 0.5', 'prefix = "a/"\nkeep_decisions = 3')
    rules = [entry.rule for entry in NodeConfig.load(path).retention]
    assert rules == [
        RetentionRule("", keep_seconds=43_200),
        RetentionRule("a/", keep_decisions=3),
    ]
    monkeypatch.setenv("QBFT_RETENTION", '[{"prefix": "b", "keep_days": 1, "keep_decisions": 2}]')
    assert [entry.rule for entry in NodeConfig.load(path).retention] == [
        RetentionRule("b", 2, 86_400)
    ]


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ('prefix = "a"', "needs keep_decisions, keep_days or both"),
        ('prefix = "A"\nkeep_days = 1', "must be how a topic can begin"),
        ("keep_days = 1", "prefix"),
        ('prefix = "a"\nkeep_decisions = 0', "keep_decisions"),
        ('prefix = "a"\nkeep_days = 0', "keep_days"),
        ('prefix = "a"\nkeep_days = nan', "keep_days"),
        ('prefix = "a"\nkeep_heights = 5', "keep_heights"),
    ],
)
def test_a_wrong_retention_is_refused(path: Path, entry: str, says: str) -> None:
    """Each mistake in one line that names it; heights are no policy."""
    with_retention(path, entry)
    assert says in refusal(path)


def test_a_prefix_has_one_retention(path: Path) -> None:
    """Two policies for the same topics cannot both hold."""
    with_retention(path, *2 * ['prefix = "a"\nkeep_days = 1'])
    assert "retention prefix 'a' is given twice" in refusal(path)


def with_cluster(path: Path, *prefixes: Prefix) -> NodeConfig:
    """The node file beside the file of a cluster that has these prefixes."""
    made = init_cluster(path.parent.parent / "made", 4)
    cluster = made.model_copy(update={"prefixes": prefixes})
    (path.parent.parent / "cluster.toml").write_text(cluster.dump())
    return NodeConfig.load(path)


LOG = Prefix(prefix="log/", ordered=True)


@pytest.mark.parametrize(
    ("prefix", "keeps"),
    [
        ("log/", "keep_decisions = 1024"),
        ("log/", "keep_days = 30"),
        ("", "keep_decisions = 1024"),
        ("log/of/one", "keep_decisions = 1024\nkeep_days = 30"),
    ],
)
def test_an_ordered_topic_is_kept_for_its_readers(path: Path, prefix: str, keeps: str) -> None:
    """A reader needs 1,024 heights to know what is void (docs/ORDERED.md): less is refused."""
    with_retention(path, f'prefix = "{prefix}"\n{keeps}')
    config = with_cluster(path, LOG)
    with pytest.raises(ClusterError, match=rf'retention of "{prefix}".*more than 1024'):
        config.load_cluster()


@pytest.mark.parametrize(
    "entries",
    [
        ('prefix = "log/"\nkeep_decisions = 1025',),
        ('prefix = "log/"\nkeep_decisions = 1025\nkeep_days = 1', 'prefix = ""\nkeep_days = 1'),
        ('prefix = "lo"\nkeep_decisions = 1025', 'prefix = "log/plain/"\nkeep_days = 1'),
        ('prefix = "other/"\nkeep_days = 1',),
    ],
)
def test_what_leaves_ordered_topics_alone_is_accepted(path: Path, entries: tuple[str, ...]) -> None:
    """Only the rule that applies to an ordered topic has to keep so many."""
    with_retention(path, *entries)
    config = with_cluster(path, LOG, Prefix(prefix="log/plain/"))
    assert config.load_cluster()[0].policy("log/x").ordered
