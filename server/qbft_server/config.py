"""A node's configuration: one TOML file, and the environment above it.

Every key can be given in the environment instead: `QBFT_`, the key in capitals, `__` between table
and key, as in `QBFT_LISTEN__CLIENT=0.0.0.0:7400`. All is checked once, at start, and the first
thing wrong is said in one line that names the key, the value and what is allowed.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from qbft.cluster import (
    Address,
    Cluster,
    Table,
    TopicPrefix,
    Validator,
    first_error,
    parse_toml,
    read_text,
    refuse_twice,
    refuse_unknown_keys,
)
from qbft.errors import ClusterError
from qbft_server.store.retention import RetentionRule

ENVIRONMENT_PREFIX = "QBFT_"
NESTED = "__"
_NOT_SETTINGS = ("QBFT_TEST_", "QBFT_CONFIG")
"""Variables of ours that are no keys of this file: the test faults, and where the file is."""

_SECRET_KEYS = frozenset({"tokens"})
RETENTION_RULES_MAX = 1_024
MESSAGE_OVERHEAD_BYTES = 256 * 1024
"""What a gRPC message may hold beside one value (DESIGN, section 4)."""


def _check_token(token: SecretStr) -> SecretStr:
    text = token.get_secret_value()
    if not (16 <= len(text) <= 512 and text.isascii() and text.isprintable() and " " not in text):
        raise ValueError("must be 16 to 512 printable ASCII characters without spaces")
    return token


Token = Annotated[SecretStr, AfterValidator(_check_token)]


class ListenSettings(Table):
    """Where this node listens: for peers, for clients, and for its operator (metrics, dashboard).

    They may differ from the cluster file's addresses, which are how others reach the node. Without
    `admin` there is no such listener.
    """

    peer: Address
    client: Address
    admin: Address | None = None


class ClientSettings(Table):
    """Who may use the decision service.

    With `tokens` a client must send one of them (`authorization: Bearer TOKEN`); with `authority`,
    a file of CA certificates, it must show a certificate of theirs. `insecure_plaintext` turns TLS
    off: then anyone on the path reads and changes what clients say.
    """

    tokens: tuple[Token, ...] = Field(default=(), max_length=1_024)
    authority: Path | None = None
    insecure_plaintext: bool = False

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.insecure_plaintext and self.tokens:
            raise ValueError(
                "insecure_plaintext would show the tokens to anyone; allowed: not both"
            )
        if self.insecure_plaintext and self.authority is not None:
            raise ValueError("insecure_plaintext has no certificates; allowed: not with authority")
        return self


class LimitSettings(Table):
    """The bounds that an operator may want to move; all others are constants beside their code.

    A peer's queues are bounded each way: beyond, frames to it are dropped until it keeps up again,
    and frames from it wait in its own socket.
    """

    value_bytes_max: int = Field(default=1 << 20, ge=1, le=64 << 20)
    open_instances_max: int = Field(default=20_000, ge=1, le=1_000_000)
    proposals_in_flight_max: int = Field(default=4_096, ge=1, le=1_000_000)
    proposal_bytes_in_flight_max: int = Field(default=128 << 20, ge=1 << 10, le=64 << 30)
    peer_queue_frames_max: int = Field(default=4_096, ge=16, le=1_000_000)
    peer_queue_bytes_max: int = Field(default=32 << 20, ge=1 << 20, le=4 << 30)

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
    first_round_ms: int = Field(default=1_000, ge=10, le=60_000)
    cap_ms: int = Field(default=60_000, ge=60_000, le=86_400_000)


class LogSettings(Table):
    """What is logged and how; `auto` is text on a terminal and JSON elsewhere."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "text", "json"] = "auto"


class RetentionSettings(Table):
    """How much is kept of the topics that begin with `prefix`; the longest matching prefix wins.

    Kept are the `keep_decisions` highest decided heights of each topic, and whatever is not older
    than `keep_days`; where both are given, what either of them keeps. A topic without such an entry
    is kept for ever.
    """

    prefix: TopicPrefix
    keep_decisions: int | None = Field(default=None, ge=1, le=1 << 40)
    keep_days: float | None = Field(default=None, gt=0, le=36_500, allow_inf_nan=False)

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
    """One node's settings. Paths in the file are relative to the file's own folder.

    `cluster` is the cluster file, `validator` this node's index in it, `data` the directory of its
    votes and decisions, `vote_key` and `tls_key` its private files, `retention` what is kept of
    which topics.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter=NESTED,
        hide_input_in_errors=True,
    )

    cluster: Path
    validator: int = Field(ge=0)
    data: Path
    vote_key: Path
    tls_key: Path
    listen: ListenSettings
    clients: ClientSettings = ClientSettings()
    limits: LimitSettings = LimitSettings()
    timer: TimerSettings = TimerSettings()
    log: LogSettings = LogSettings()
    retention: tuple[RetentionSettings, ...] = Field(default=(), max_length=RETENTION_RULES_MAX)

    @model_validator(mode="after")
    def _check_retention(self) -> Self:
        refuse_twice("retention prefix", [entry.prefix for entry in self.retention])
        return self

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, table: Any) -> Any:
        refuse_unknown_keys(cls, table)
        return table

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
            key: folder / getattr(self, key) for key in ("cluster", "data", "vote_key", "tls_key")
        }
        authority = self.clients.authority
        if authority is not None:
            clients = self.clients.model_copy(update={"authority": folder / authority})
            return self.model_copy(update={**paths, "clients": clients})
        return self.model_copy(update=paths)

    def load_cluster(self) -> tuple[Cluster, Validator]:
        """The cluster, and this node's own entry in it.

        Raises:
            ClusterError: the cluster file is not usable, or has no such validator.
        """
        cluster = Cluster.load(self.cluster)
        count = len(cluster.validators)
        if self.validator >= count:
            raise ClusterError(
                f"validator = {self.validator}: {self.cluster} has {count} validators, "
                f"allowed is 0 to {count - 1}"
            )
        return cluster, cluster.validators[self.validator]


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
