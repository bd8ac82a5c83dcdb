"""A node's configuration: one TOML file, and the environment above it.

Every key can be given in the environment instead: `QBFT_`, the key in capitals, `__` between table
and key, as in `QBFT_LISTEN__CLIENT=0.0.0.0:7400`. All is checked once, at start, and the first
thing wrong is said in one line that names the key, the value and what is allowed.
"""

from __future__ import annotations

import ipaddress
import math
import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from qbft.cluster import (
    Address,
    Cluster,
    HexKey,
    Table,
    TopicPrefix,
    Validator,
    check_address,
    first_error,
    parse_toml,
    read_text,
    refuse_twice,
    refuse_unknown_keys,
)
from qbft.crypto.entries import WINDOW_HEIGHTS
from qbft.errors import ClusterError
from qbft_server.store.retention import Retention, RetentionRule

ENVIRONMENT_PREFIX = "QBFT_"
NESTED = "__"
_NOT_SETTINGS = ("QBFT_TEST_", "QBFT_CONFIG")
"""Variables of ours that are no keys of this file: the test faults, and where the file is."""

_SECRET_KEYS = frozenset({"tokens"})
SOCKET_SCHEME = "unix:"
RETENTION_RULES_MAX = 1_024
"""Rules of what is kept."""

GRANTS_MAX = 1_024
GRANT_PREFIXES_MAX = 256
"""Clients that a node knows by a grant, and prefixes of topics in each list of one."""

MESSAGE_OVERHEAD_BYTES = 256 * 1024
"""What a gRPC message may hold beside one value (DESIGN, section 4)."""


def check_token_text(text: str) -> None:
    """Check that this can be a client's token.

    Raises:
        ValueError: it cannot; the message does not show it.
    """
    if not (16 <= len(text) <= 512 and text.isascii() and text.isprintable() and " " not in text):
        raise ValueError("must be 16 to 512 printable ASCII characters without spaces")


def _check_token(token: SecretStr) -> SecretStr:
    check_token_text(token.get_secret_value())
    return token


Token = Annotated[SecretStr, AfterValidator(_check_token)]


def _path_of_socket(address: object) -> object:
    if not isinstance(address, str):
        return address
    if not address.startswith(SOCKET_SCHEME) or address == SOCKET_SCHEME:
        raise ValueError("must be unix:PATH")
    return address.removeprefix(SOCKET_SCHEME)


SignerSocket = Annotated[Path, BeforeValidator(_path_of_socket)]
"""The path of a Unix socket, written unix:PATH."""


class ListenSettings(Table):
    """Where this node listens: for peers, for clients, and for its operator (metrics, dashboard).

    They may differ from the cluster file's addresses, which are how others reach the node. Without
    `admin` there is no such listener.
    """

    peer: Address
    """For the other nodes: mutual TLS."""
    client: Address
    """For clients."""
    admin: Address | None = None
    """For metrics, probes and the dashboard; without it there is no such port."""


class GrantSettings(Table):
    """What one client may do, by prefixes of topics, and by what it is known.

    It shows a token, given as `token_sha256` (64 hexadecimal digits) or in a private file that has
    nothing else in it, or a certificate with this `common_name`, or, where both are given, both.
    """

    name: str = Field(min_length=1, max_length=64)
    """What you call it; no two alike."""
    token_sha256: HexKey | None = None
    """Of the token that the client shows, as `qbft token` prints it; this or the next."""
    token_file: Path | None = None
    """A private file that has the token itself and nothing else."""
    common_name: str | None = Field(default=None, min_length=1, max_length=64)
    """Of the certificate that it shows; only with `clients.authority`."""
    propose: tuple[TopicPrefix, ...] = Field(default=(), max_length=GRANT_PREFIXES_MAX)
    """Topics that begin so: have values decided, and learn what was decided there."""
    read: tuple[TopicPrefix, ...] = Field(default=(), max_length=GRANT_PREFIXES_MAX)
    """Topics that begin so: get, list, watch, capture."""
    admin: tuple[TopicPrefix, ...] = Field(default=(), max_length=GRANT_PREFIXES_MAX)
    """Topics that begin so: see values, and not only digests, on the admin port."""

    @model_validator(mode="after")
    def _check_whole(self) -> Self:
        if self.token_sha256 is not None and self.token_file is not None:
            raise ValueError("token_sha256 and token_file are two tokens; allowed: one of them")
        if (self.token_sha256, self.token_file, self.common_name) == (None, None, None):
            raise ValueError("needs token_sha256, token_file or common_name")
        if not (self.propose or self.read or self.admin):
            raise ValueError('needs propose, read or admin: lists of prefixes, [""] for all')
        return self


class ClientSettings(Table):
    """Who may use the decision service, and for which topics.

    With `tokens` a client must send one of them (`authorization: Bearer TOKEN`), and may propose
    and read; with `grants` each may do what is said there; with `authority`, a file of CA
    certificates, it must show a certificate of theirs. `insecure_plaintext` turns TLS off: then
    anyone on the path reads and changes what clients say.
    """

    tokens: tuple[Token, ...] = Field(default=(), max_length=1_024)
    """Clients must send one of these: 16 to 512 printable ASCII characters, 1024 tokens at most."""
    grants: tuple[GrantSettings, ...] = Field(default=(), max_length=GRANTS_MAX)
    """Who may do what for which topics (docs/OPERATIONS.md#clients)."""
    authority: Path | None = None
    """Clients must show a certificate of these authorities (PEM)."""
    insecure_plaintext: bool = False
    """No TLS for clients: whoever is on the path reads and changes what they say. Not with the
    three above."""

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        refuse_twice("grant name", [grant.name for grant in self.grants])
        for grant in self.grants:
            if grant.common_name is not None and self.authority is None:
                raise ValueError(
                    f"grant {grant.name!r} has a common_name, and nobody vouches for it; "
                    "allowed: only with authority"
                )
        if self.insecure_plaintext and self.grants:
            raise ValueError(
                "insecure_plaintext would show the tokens to anyone; allowed: not with grants"
            )
        if self.insecure_plaintext and self.tokens:
            raise ValueError(
                "insecure_plaintext would show the tokens to anyone; allowed: not both"
            )
        if self.insecure_plaintext and self.authority is not None:
            raise ValueError("insecure_plaintext has no certificates; allowed: not with authority")
        return self

    def relative_to(self, folder: Path) -> Self:
        """The same settings with every path made absolute, seen from `folder`."""
        grants = tuple(
            grant.model_copy(update={"token_file": grant.token_file and folder / grant.token_file})
            for grant in self.grants
        )
        authority = self.authority and folder / self.authority
        return self.model_copy(update={"grants": grants, "authority": authority})


class LimitSettings(Table):
    """The bounds that an operator may want to move; all others are constants beside their code.

    A peer's queues are bounded each way: beyond, frames to it are dropped until it keeps up again,
    and frames from it wait in its own socket.
    """

    value_bytes_max: int = Field(default=1 << 20, ge=1, le=64 << 20)
    """The largest value. The same on all nodes: one with less cannot take part in deciding larger
    ones."""
    open_instances_max: int = Field(default=20_000, ge=1, le=1_000_000)
    """Undecided instances that clients of this node opened; above it RESOURCE_EXHAUSTED."""
    proposals_in_flight_max: int = Field(default=4_096, ge=1, le=1_000_000)
    """Proposals of all clients that wait for their decisions; above it RESOURCE_EXHAUSTED."""
    proposal_bytes_in_flight_max: int = Field(default=128 << 20, ge=1 << 10, le=64 << 30)
    """The bytes of their values, likewise."""
    client_share_percent_max: int = Field(default=50, ge=1, le=100)
    """What one client may have of the three above, of calls, watches, streams, ordered topics and
    unread replies: so many percent of what it has and nobody else does. By 50 one client alone has
    half of all there is, and two greedy ones a third each; by 100 it may take everything
    (docs/OPERATIONS.md#clients)."""
    openings_at_once_max: int = Field(default=512, ge=1, le=1_000_000)
    """Instances that clients who compete have opened and that are not decided yet, shared out
    equally; to open further ones they wait for their turn."""
    peer_queue_frames_max: int = Field(default=4_096, ge=16, le=1_000_000)
    """Frames that wait for a slow peer; above it they are dropped, and what matters is sent
    again."""
    peer_queue_bytes_max: int = Field(default=32 << 20, ge=1 << 20, le=4 << 30)
    """The same in bytes; must hold one message, a value and 256 KiB."""

    @model_validator(mode="after")
    def _check_room(self) -> Self:
        if self.peer_queue_bytes_max < self.message_bytes_max:
            raise ValueError(
                f"peer_queue_bytes_max = {self.peer_queue_bytes_max} must hold one message: "
                f"allowed is {self.message_bytes_max} or more (value_bytes_max + 256 KiB)"
            )
        return self

    @property
    def message_bytes_max(self) -> int:
        """The largest gRPC message, each way."""
        return self.value_bytes_max + MESSAGE_OVERHEAD_BYTES


class TimerSettings(Table):
    """How long a round lasts; it grows from round to round up to `cap_ms` (DESIGN, time)."""

    kind: Literal["exponential", "linear", "increasing"] = "exponential"
    """How rounds grow (docs/HOW.md#which-timer). `increasing` hardly does: where nodes are far
    apart and only a quorum is up, it left 36 to 57 % of all runs undecided after 12 s
    (docs/SIMULATION.md#what-it-teaches)."""
    first_round_ms: int = Field(default=1_000, ge=10, le=60_000)
    """The first round of `exponential`, which doubles, and the step of `linear`; `increasing` is
    750 + 250 r."""
    cap_ms: int = Field(default=60_000, ge=60_000, le=86_400_000)
    """What a round of `exponential` lasts at most; the others end at 60000."""


def _check_beside(address: str) -> str:
    """The address itself, if nobody but this machine can be there: what it says is believed."""
    if address.startswith("unix:/"):
        return address
    host = check_address(address).rpartition(":")[0].strip("[]")
    if host != "localhost" and not _is_loopback(host):
        raise ValueError("must be unix:/PATH, or HOST:PORT of the loopback")
    return address


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class ApplicationSettings(Table):
    """The operator's own program beside this node (docs/APPLICATIONS.md)."""

    address: Annotated[str, AfterValidator(_check_beside)]
    """Of the operator's own program, on this machine: HOST:PORT of the loopback, or unix:/PATH. The
    table as a whole is optional (docs/APPLICATIONS.md)."""
    prefixes: tuple[TopicPrefix, ...] = Field(default=(), max_length=1_024)
    """The topics it has a say in; none: all."""
    checks: bool = True
    """No value is voted for that it does not find valid."""
    provides: bool = False
    """It is asked what to propose where no client has said."""
    decided: bool = True
    """It is told what was decided."""


class RecorderSettings(Table):
    """The recorder: how much memory the last messages of all instances may take; 0 turns it off."""

    bytes_max: int = Field(default=16 << 20, ge=0, le=16 << 30)
    """Memory for the last messages of all instances; who opens or sends most makes way for itself.
    0 turns the recorder off (docs/OPERATIONS.md#looking-into-an-instance)."""


class TraceSettings(Table):
    """Traces for OpenTelemetry (docs/adr/018); without an `endpoint` there are none."""

    endpoint: AnyHttpUrl | None = None
    """Where traces are sent, by OTLP over HTTP; none: nowhere (docs/OPERATIONS.md#traces)."""
    ratio: float = Field(default=1.0, ge=0, le=1)
    """The part of them that is kept, where a client has not said."""


class LogSettings(Table):
    """What is logged and how; `auto` is text on a terminal and JSON elsewhere."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Below it nothing is written."""
    format: Literal["auto", "text", "json"] = "auto"
    """`auto` is text on a terminal and JSON elsewhere."""


class RetentionSettings(Table):
    """How much is kept of the topics that begin with `prefix`; the longest matching prefix wins.

    Kept are the `keep_decisions` highest decided heights of each topic, and whatever is not older
    than `keep_days`; where both are given, what either of them keeps. A topic without such an entry
    is kept for ever.
    """

    prefix: TopicPrefix
    """Topics that begin so; the longest that matches wins."""
    keep_decisions: int | None = Field(default=None, ge=1, le=1 << 40)
    """So many of the highest decided heights of each topic; this or the next, or both."""
    keep_days: float | None = Field(default=None, gt=0, le=36_500, allow_inf_nan=False)
    """Whatever was stored in the last so many days, by this machine's clock."""

    @model_validator(mode="after")
    def _check_some_policy(self) -> Self:
        if self.keep_decisions is None and self.keep_days is None:
            raise ValueError("needs keep_decisions, keep_days or both")
        return self

    @property
    def rule(self) -> RetentionRule:
        """The rule as the store applies it."""
        seconds = None if self.keep_days is None else math.ceil(self.keep_days * 86_400)
        return RetentionRule(self.prefix, self.keep_decisions, seconds)


class NodeConfig(BaseSettings):
    """One node's settings. Paths in the file are relative to the file's own folder."""

    model_config = SettingsConfigDict(
        frozen=True,
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter=NESTED,
        hide_input_in_errors=True,
    )

    cluster: Path
    """The cluster file."""
    validator: int = Field(ge=0)
    """This node's index in it."""
    data: Path
    """The directory of votes and decisions, which `init` has made."""
    vote_key: Path | None = None
    """The private file of the vote key; this or the next."""
    vote_signer: SignerSocket | None = None
    """`unix:PATH`, the socket of a process that has it (docs/OPERATIONS.md#a-key-elsewhere)."""
    tls_key: Path
    """The private file of the TLS key."""
    listen: ListenSettings
    clients: ClientSettings = ClientSettings()
    limits: LimitSettings = LimitSettings()
    timer: TimerSettings = TimerSettings()
    log: LogSettings = LogSettings()
    application: ApplicationSettings | None = None
    recorder: RecorderSettings = RecorderSettings()
    traces: TraceSettings = TraceSettings()
    retention: tuple[RetentionSettings, ...] = Field(default=(), max_length=RETENTION_RULES_MAX)
    """What is kept of which topics, else all for ever (docs/OPERATIONS.md#retention)."""

    @model_validator(mode="after")
    def _check_one_key(self) -> Self:
        if (self.vote_key is None) == (self.vote_signer is None):
            raise ValueError("needs vote_key or vote_signer, and not both")
        return self

    @model_validator(mode="after")
    def _check_retention(self) -> Self:
        refuse_twice("retention prefix", [entry.prefix for entry in self.retention])
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file, which `load` passes as arguments."""
        return env_settings, init_settings

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a node's file and the environment.

        Raises:
            ClusterError: something is missing, unknown or not allowed.
        """
        table = parse_toml(read_text(path, "node file"), str(path))
        if "validators" in table:
            message = f"{path}: this is a cluster file; a node's own is its node.toml"
            raise ClusterError(message)
        try:
            refuse_unknown_keys(cls, table)  # pydantic-settings has keys of its own: "_env_file"
        except ValueError as error:
            raise ClusterError(f"{path}: {error}") from error
        _refuse_unknown_variables(cls)
        try:
            config = cls(**table)
        except ValidationError as error:
            message = first_error(error, _SECRET_KEYS)
            raise ClusterError(f"{_source(error, path)}: {message}") from error
        except ValueError as error:  # pydantic-settings: a variable that is no JSON
            raise ClusterError(f"environment: {error}") from error
        return config.relative_to(path.resolve().parent)

    def relative_to(self, folder: Path) -> Self:
        """The same settings with every path made absolute, seen from `folder`."""
        paths = {
            key: folder / path
            for key in ("cluster", "data", "vote_key", "vote_signer", "tls_key")
            if (path := getattr(self, key)) is not None
        }
        return self.model_copy(update={**paths, "clients": self.clients.relative_to(folder)})

    def load_cluster(self) -> tuple[Cluster, Validator]:
        """The cluster, and this node's own entry in it.

        Raises:
            ClusterError: the cluster file is not usable, or has no such validator, or an ordered
                topic would not be kept for as long as its readers need it.
        """
        cluster = Cluster.load(self.cluster)
        count = len(cluster.validators)
        if self.validator >= count:
            raise ClusterError(
                f"validator = {self.validator}: {self.cluster} has {count} validators, "
                f"allowed is 0 to {count - 1}"
            )
        self._check_ordered_topics(cluster)
        return cluster, cluster.validators[self.validator]

    def _check_ordered_topics(self, cluster: Cluster) -> None:
        """Whoever reads an ordered topic needs a window before its place to know what is void."""
        rules = Retention(entry.rule for entry in self.retention)
        ordered = [prefix.prefix for prefix in cluster.all_prefixes if prefix.ordered]
        touching = [rules.rule_of(prefix) for prefix in ordered]
        touching += [e.rule for e in self.retention if cluster.policy(e.prefix).ordered]
        for rule in touching:
            if rule is not None and (rule.keep_decisions or 0) <= WINDOW_HEIGHTS:
                raise ClusterError(
                    f'retention of "{rule.prefix}": topics there are ordered, so keep_decisions '
                    f"has to be more than {WINDOW_HEIGHTS} (docs/ORDERED.md)"
                )


def _refuse_unknown_variables(model: type[NodeConfig]) -> None:
    """A misspelled variable must not be passed over in silence."""
    for variable in sorted(os.environ):
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable.startswith(_NOT_SETTINGS):
            continue
        key = variable.removeprefix(ENVIRONMENT_PREFIX).split(NESTED)[0].lower()
        if key not in model.model_fields:
            allowed = ", ".join(model.model_fields)
            raise ClusterError(f"environment: {variable} is no setting; allowed: {allowed}")


def _source(error: ValidationError, path: Path) -> str:
    """Where the offending value came from: the variable if there is one, else the file."""
    loc = [str(part).upper() for part in error.errors(include_url=False)[0]["loc"]]
    for length in range(len(loc), 0, -1):
        variable = ENVIRONMENT_PREFIX + NESTED.join(loc[:length])
        if variable in os.environ:
            return f"environment {variable}"
    return str(path)
