"""The cluster file: who the validators are, where they are found, and who may propose what.

One TOML file, without secrets, the same for every node and every client. Name, epoch and vote keys
make the cluster id; addresses and TLS identities are outside it and may change (DESIGN, section 4).

A node's TLS identity is its public key, pinned as `tls_key_sha256`; its self-signed certificate
stands beside the pin because gRPC wants a root to trust. Trusting that one root means: the other
side holds that key. No authority takes part, and the name in it (`TLS_NAME`) says nothing.
"""

from __future__ import annotations

import base64
import binascii
import re
import tomllib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from qbft.core import InstanceId
from qbft.core.quorum import max_faulty
from qbft.crypto.roster import Roster, cluster_id
from qbft.crypto.seal import SEAL_TOPIC
from qbft.epochs import SealedEpoch, check_order, read_sealed_epoch, roster_of
from qbft.errors import CertificateError, ClusterError
from qbft.replica.policy import TOPICS_MAX, TopicPolicy
from qbft.tls_pin import bare_certificate, ed25519_key_sha256, tls_key_sha256

TLS_NAME = "qbft-node"
"""The DNS name that every node's certificate carries and every dialer asks for."""

VALIDATORS_MAX = 256
"""Validators of a cluster file, and of each epoch before it."""

PREFIXES_MAX = 1_024
PROPOSERS_PER_PREFIX_MAX = 1_024
"""Prefixes of topics in a cluster file, and the keys of those who may propose below one."""

CLUSTER_FILE_BYTES_MAX = 8 << 20
"""A cluster file as it is."""

EPOCH_MAX = 2**63 - 1
"""The highest epoch."""

OPERATORS_MAX = 64
"""Keys that may end an epoch."""

PREDECESSORS_MAX = 64
SEAL_CHARACTERS_MAX = 2 << 20
"""Epochs before this one of which the cluster file tells, and the seal of each in base64."""

OPEN_NOTE = "  # open: anyone may propose, and a faulty node may choose the values"

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_PREFIX = re.compile(r"([a-z0-9][a-z0-9._/-]{0,127})?")
_KEY = re.compile(r"[0-9a-f]{64}")
_ADDRESS = re.compile(
    r"(?P<host>[A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):(?P<port>[0-9]{1,5})"
)

_SHOWN_CHARACTERS_MAX = 80
"""Of a key or value of a cluster file that is told in what is wrong with it."""


def check_address(address: str) -> str:
    """The address itself, if it is HOST:PORT with a port from 1 to 65535 (IPv6 in brackets).

    Raises:
        ValueError: it is not.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or not 1 <= int(match["port"]) <= 65_535:
        raise ValueError("must be HOST:PORT, the port from 1 to 65535, IPv6 in brackets")
    return address


def _check_key(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError("must be 64 lowercase hexadecimal digits (32 bytes)")
    return key


def _check_prefix(prefix: str) -> str:
    if not _PREFIX.fullmatch(prefix):
        raise ValueError("must be how a topic can begin: at most 128 of a-z 0-9 . _ / -")
    return prefix


Address = Annotated[str, AfterValidator(check_address)]
"""HOST:PORT."""

HexKey = Annotated[str, AfterValidator(_check_key)]
"""32 bytes, in lowercase hexadecimal."""


TopicPrefix = Annotated[str, AfterValidator(_check_prefix)]
"""How a topic can begin; empty for all."""


class Table(BaseModel):
    """A table of a configuration file: immutable, and any key that it does not know is refused."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, table: Any) -> Any:
        refuse_unknown_keys(cls, table)
        return table


def refuse_unknown_keys(model: type[BaseModel], table: object) -> None:
    """Check that a table has no key but the model's.

    Raises:
        ValueError: it has; the message names the key and those that are allowed.
    """
    if not isinstance(table, dict):
        return
    for key in table:
        if key not in model.model_fields:
            allowed = ", ".join(model.model_fields)
            raise ValueError(
                f"unknown key {str(key)[:_SHOWN_CHARACTERS_MAX]!r}; allowed: {allowed}"
            )


class Validator(Table):
    """One voting member; its index is its place in the file.

    `vote_key` is its Ed25519 public key; `peer` the address that other nodes dial, `client` that of
    its decision service; `tls_key_sha256` the pin of its TLS key, `tls_certificate` the self-signed
    certificate (PEM) with that key.
    """

    vote_key: HexKey
    peer: Address
    client: Address
    tls_key_sha256: HexKey
    tls_certificate: Annotated[str, Field(max_length=16_384), AfterValidator(bare_certificate)]

    @model_validator(mode="after")
    def _check_pin(self) -> Self:
        pin = tls_key_sha256(self.tls_certificate)
        if pin != self.tls_key_sha256:
            raise ValueError(
                f"tls_certificate holds the key {pin}, which is not the pinned "
                f"tls_key_sha256 {self.tls_key_sha256}"
            )
        return self

    def dump(self, index: int | None = None) -> str:
        """Its entry in a file; `index` is for the reader."""
        parts = ["[[validators]]" if index is None else f"[[validators]]  # {index}"]
        parts += [
            f'{key} = "{getattr(self, key)}"'
            for key in ("vote_key", "peer", "client", "tls_key_sha256")
        ]
        parts.append(f"tls_certificate = '''\n{self.tls_certificate.strip()}\n'''")
        return "\n".join(parts) + "\n"


class Prefix(Table):
    """The rules of all topics that begin with `prefix`; the longest matching prefix wins.

    `inputs` and `proposers` are those of `qbft.replica.policy.TopicPolicy`; no proposers means that
    the prefix is open, and a faulty node may choose its values (DESIGN, who may propose).
    `topics_max` bounds how many topics there are (DESIGN, retention). `ordered` topics are appended
    to, and `proposers` are the authors of their entries; on all nodes from a topic's beginning on
    (docs/ORDERED.md).
    """

    prefix: TopicPrefix
    inputs: Literal["adopt", "own"] = "adopt"
    proposers: tuple[HexKey, ...] = Field(default=(), max_length=PROPOSERS_PER_PREFIX_MAX)
    topics_max: int = Field(default=TOPICS_MAX, ge=1, le=1_000_000)
    ordered: bool = False

    @model_validator(mode="after")
    def _check_ordered(self) -> Self:
        if self.ordered and self.inputs != "adopt":
            raise ValueError(
                'ordered topics need inputs = "adopt": whoever has nothing helps others'
            )
        return self

    @property
    def policy(self) -> TopicPolicy:
        """These rules as a replica applies them."""
        proposers = frozenset(map(bytes.fromhex, self.proposers))
        adopts = self.inputs == "adopt"
        return TopicPolicy(adopts, proposers, self.prefix, self.topics_max, self.ordered)

    @property
    def is_open(self) -> bool:
        """Whether anyone may propose, so that a faulty node may choose the values."""
        return not self.proposers


class Predecessor(Table):
    """An epoch before this one, of the same name: its validators, and how it handed over.

    `seal` is the decision of its seal, a serialised `Decision` in base64.
    """

    epoch: int = Field(ge=0, le=EPOCH_MAX)
    vote_keys: tuple[HexKey, ...] = Field(min_length=1, max_length=VALIDATORS_MAX)
    seal: str = Field(max_length=SEAL_CHARACTERS_MAX)

    @property
    def seal_bytes(self) -> bytes:
        """The serialised decision.

        Raises:
            ValueError: it is not in base64.
        """
        try:
            return base64.b64decode(self.seal, validate=True)
        except binascii.Error as error:
            raise ValueError(f"the seal of epoch {self.epoch} is not base64") from error


class Cluster(Table):
    """A cluster file, checked.

    `faults` is how many faulty validators the operator counts on surviving; a file that claims more
    than its validators allow (n >= 3f+1) is refused. Left out, it claims nothing. `operators` are
    the public keys of those who may end the epoch by a seal; without any there is no seal.
    `predecessors` are the epochs before this one, oldest first, each one after the other; without
    any, this cluster decides whatever it is asked.
    """

    name: str
    epoch: int = Field(default=0, ge=0, le=EPOCH_MAX)
    faults: int | None = Field(default=None, ge=0)
    validators: tuple[Validator, ...] = Field(min_length=1, max_length=VALIDATORS_MAX)
    prefixes: tuple[Prefix, ...] = Field(default=(), max_length=PREFIXES_MAX)
    operators: tuple[HexKey, ...] = Field(default=(), max_length=OPERATORS_MAX)
    predecessors: tuple[Predecessor, ...] = Field(default=(), max_length=PREDECESSORS_MAX)

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError("must be 1 to 64 of a-z 0-9 . _ - and begin with a letter or digit")
        return name

    @model_validator(mode="after")
    def _check_whole(self) -> Self:
        refuse_twice("vote_key", [v.vote_key for v in self.validators])
        refuse_twice("tls_key_sha256", [v.tls_key_sha256 for v in self.validators])
        refuse_twice("address", [a for v in self.validators for a in (v.peer, v.client)])
        refuse_twice("prefix", [p.prefix for p in self.prefixes])
        self._check_separate_keys()
        nodes = len(self.validators)
        if self.faults is not None and self.faults > max_faulty(nodes):
            raise ValueError(
                f"faults = {self.faults} needs {3 * self.faults + 1} validators (3f+1), and there "
                f"are {nodes}: allowed is at most {max_faulty(nodes)}"
            )
        self._check_predecessors()
        return self

    def _check_separate_keys(self) -> None:
        """Whoever gets at a TLS key must not be able to vote with it (DESIGN, signatures)."""
        tls_keys = {validator.tls_key_sha256 for validator in self.validators}
        for validator in self.validators:
            if ed25519_key_sha256(bytes.fromhex(validator.vote_key)) in tls_keys:
                raise ValueError(
                    f"vote_key {validator.vote_key!r} is a TLS key as well; "
                    "allowed are only keys of its own for each"
                )

    def _check_predecessors(self) -> None:
        """Believe a predecessor only by its seal."""
        epochs = [predecessor.epoch for predecessor in self.predecessors]
        if epochs != list(range(self.epoch - len(epochs), self.epoch)):
            raise ValueError(f"the predecessors of epoch {self.epoch} are not those before it")
        try:
            check_order(self.ended)
        except CertificateError as error:
            raise ValueError(str(error)) from error

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and check a cluster file.

        Raises:
            ClusterError: it cannot be read, or not used; one line with the key, the value and what
                is allowed.
        """
        return cls.parse(read_text(path, "cluster file"), str(path))

    @classmethod
    def parse(cls, text: str, source: str = "cluster file") -> Self:
        """Read the text of a cluster file; `source` names it in errors.

        Raises:
            ClusterError: see `load`.
        """
        table = parse_toml(text, source)
        if "listen" in table:
            raise ClusterError(f"{source}: this is a node's file; it names its cluster file")
        try:
            return cls.model_validate(table)
        except ValidationError as error:
            raise ClusterError(f"{source}: {first_error(error)}") from error

    def dump(self) -> str:
        """The text of the file: `parse(dump())` is this cluster again."""
        parts = [
            "# A qbft cluster: the same file for every node and client. It holds no secret.",
            f'name = "{self.name}"',
            f"epoch = {self.epoch}",
        ]
        if self.faults is not None:
            parts.append(f"faults = {self.faults}")
        if self.operators:
            parts.append(f"operators = [{_quoted(self.operators)}]")
        for index, validator in enumerate(self.validators):
            parts += ["", validator.dump(index).strip()]
        for prefix in self.prefixes:
            proposers = ", ".join(f'"{key}"' for key in prefix.proposers)
            parts += ["", "[[prefixes]]" + OPEN_NOTE * prefix.is_open]
            parts.append(f'prefix = "{prefix.prefix}"')
            parts += [f'inputs = "{prefix.inputs}"', f"proposers = [{proposers}]"]
            parts.append(f"topics_max = {prefix.topics_max}")
            if prefix.ordered:
                parts.append("ordered = true")
        for predecessor in self.predecessors:
            parts += ["", "[[predecessors]]", f"epoch = {predecessor.epoch}"]
            parts.append(f"vote_keys = [{_quoted(predecessor.vote_keys)}]")
            parts.append(f'seal = "{predecessor.seal}"')
        return "\n".join(parts) + "\n"

    @cached_property
    def roster(self) -> Roster:
        """Whose signatures count, and the cluster id that they are bound to."""
        return _roster(self.name, self.epoch, [v.vote_key for v in self.validators])

    @cached_property
    def ended(self) -> tuple[SealedEpoch, ...]:
        """The epochs before this one, oldest first, verified.

        Raises:
            ValueError: a seal is not in base64.
            CertificateError: a seal proves nothing.
        """
        rosters = [_roster(self.name, p.epoch, p.vote_keys) for p in self.predecessors]
        successors = [roster.cluster_id for roster in [*rosters, self.roster]][1:]
        return tuple(
            read_sealed_epoch(predecessor.epoch, roster, predecessor.seal_bytes, successor)
            for predecessor, roster, successor in zip(
                self.predecessors, rosters, successors, strict=True
            )
        )

    def descends_from(self, known: Cluster) -> bool:
        """Whether it is this cluster, or one to which it has handed over, by its own validators.

        That chain begins at the known cluster. An epoch before it is vouched for by nobody but
        itself, so that none may be named which the known file does not name.
        """
        lineage = [*(ended.roster.cluster_id for ended in self.ended), self.roster.cluster_id]
        if known.roster.cluster_id not in lineage:
            return False
        before = self.ended[: lineage.index(known.roster.cluster_id)]
        return before == known.ended[max(0, len(known.ended) - len(before)) :]

    def roster_of(self, instance: InstanceId) -> Roster:
        """Whose certificates count for an instance: this epoch's, or those of one before it."""
        return roster_of(self.ended, self.roster, instance)

    def first_height(self, topic: str) -> int:
        """The first height of a topic that this epoch decides, and not one before it."""
        return self.ended[-1].seal.first_height(topic) if self.ended else 0

    @cached_property
    def _longest_first(self) -> tuple[tuple[str, TopicPolicy], ...]:
        return tuple(
            (p.prefix, p.policy) for p in sorted(self.prefixes, key=lambda p: -len(p.prefix))
        )

    @property
    def all_prefixes(self) -> tuple[Prefix, ...]:
        """Every prefix in order; that of all other topics among them, open if it is not named."""
        named = {prefix.prefix: prefix for prefix in self.prefixes}
        return tuple(named.get(text) or Prefix(prefix=text) for text in sorted({"", *named}))

    def policy(self, topic: str) -> TopicPolicy:
        """The policy of the longest prefix that the topic has; where none matches, open to all.

        Seals are proposed by operators, whatever the prefixes say.
        """
        if topic == SEAL_TOPIC:
            operators = frozenset(map(bytes.fromhex, self.operators))
            return TopicPolicy(proposers=operators, prefix=SEAL_TOPIC)
        for prefix, policy in self._longest_first:
            if topic.startswith(prefix):
                return policy
        return TopicPolicy()


def _roster(name: str, epoch: int, vote_keys: Iterable[str]) -> Roster:
    keys = tuple(map(bytes.fromhex, vote_keys))
    return Roster(cluster_id(name, epoch, keys), keys)


def _quoted(texts: Iterable[str]) -> str:
    return ", ".join(f'"{text}"' for text in texts)


def refuse_twice(key: str, values: list[str]) -> None:
    """Check that no value of a key is given twice.

    Raises:
        ValueError: one is.
    """
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{key} {value!r} is given twice; each must be different")
        seen.add(value)


def read_text(path: Path, what: str) -> str:
    """The text of a file of bounded size.

    Raises:
        ClusterError: there is no such file, or it is no text.
    """
    try:
        with path.open("rb") as file:
            data = file.read(CLUSTER_FILE_BYTES_MAX + 1)
        if len(data) > CLUSTER_FILE_BYTES_MAX:
            raise ClusterError(f"{path}: a {what} has at most {CLUSTER_FILE_BYTES_MAX} bytes")
        return data.decode()
    except OSError as error:
        fix = "; name the file in it" if isinstance(error, IsADirectoryError) else ""
        raise ClusterError(f"{path}: cannot read the {what}: {error.strerror}{fix}") from error
    except UnicodeDecodeError as error:
        raise ClusterError(f"{path}: not a {what}: byte {error.start} is not UTF-8") from error


def parse_toml(text: str, source: str) -> dict[str, Any]:
    """The table that a TOML text holds.

    Raises:
        ClusterError: it is not TOML; the message names the line.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ClusterError(f"{source}: not valid TOML: {error}") from error
    except RecursionError as error:
        raise ClusterError(f"{source}: not valid TOML: nested too deeply") from error


def first_error(error: ValidationError, secret: frozenset[str] = frozenset()) -> str:
    """The first thing wrong, in one line: key = value: what is allowed.

    Values of the keys in `secret` are not shown.
    """
    first = error.errors(include_url=False)[0]
    key = ".".join(map(str, first["loc"]))
    message = str(first.get("ctx", {}).get("error", first["msg"]))
    message = message.replace("Input should be", "must be").replace("Field required", "is missing")
    shown = first.get("input")
    if not key:
        return message
    if secret.intersection(map(str, first["loc"])):
        return f"{key}: {message}"
    if first["type"] == "missing" or not isinstance(shown, str | int | float):
        return f"{key}: {message}"
    return f"{key} = {repr(shown)[:_SHOWN_CHARACTERS_MAX]}: {message}"
