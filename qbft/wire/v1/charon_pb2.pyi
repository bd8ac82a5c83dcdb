from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SniffedConsensusInstances(_message.Message):
    __slots__ = ("instances", "git_hash")
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    GIT_HASH_FIELD_NUMBER: _ClassVar[int]
    instances: _containers.RepeatedCompositeFieldContainer[SniffedConsensusInstance]
    git_hash: str
    def __init__(self, instances: _Optional[_Iterable[_Union[SniffedConsensusInstance, _Mapping]]] = ..., git_hash: _Optional[str] = ...) -> None: ...

class SniffedConsensusInstance(_message.Message):
    __slots__ = ("started_at", "nodes", "peer_idx", "msgs", "protocol_id")
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    PEER_IDX_FIELD_NUMBER: _ClassVar[int]
    MSGS_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_ID_FIELD_NUMBER: _ClassVar[int]
    started_at: Timestamp
    nodes: int
    peer_idx: int
    msgs: _containers.RepeatedCompositeFieldContainer[SniffedConsensusMsg]
    protocol_id: str
    def __init__(self, started_at: _Optional[_Union[Timestamp, _Mapping]] = ..., nodes: _Optional[int] = ..., peer_idx: _Optional[int] = ..., msgs: _Optional[_Iterable[_Union[SniffedConsensusMsg, _Mapping]]] = ..., protocol_id: _Optional[str] = ...) -> None: ...

class SniffedConsensusMsg(_message.Message):
    __slots__ = ("timestamp", "msg")
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    MSG_FIELD_NUMBER: _ClassVar[int]
    timestamp: Timestamp
    msg: QBFTConsensusMsg
    def __init__(self, timestamp: _Optional[_Union[Timestamp, _Mapping]] = ..., msg: _Optional[_Union[QBFTConsensusMsg, _Mapping]] = ...) -> None: ...

class QBFTConsensusMsg(_message.Message):
    __slots__ = ("msg", "justification")
    MSG_FIELD_NUMBER: _ClassVar[int]
    JUSTIFICATION_FIELD_NUMBER: _ClassVar[int]
    msg: QBFTMsg
    justification: _containers.RepeatedCompositeFieldContainer[QBFTMsg]
    def __init__(self, msg: _Optional[_Union[QBFTMsg, _Mapping]] = ..., justification: _Optional[_Iterable[_Union[QBFTMsg, _Mapping]]] = ...) -> None: ...

class QBFTMsg(_message.Message):
    __slots__ = ("type", "duty", "peer_idx", "round", "prepared_round", "value_hash", "prepared_value_hash")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DUTY_FIELD_NUMBER: _ClassVar[int]
    PEER_IDX_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    PREPARED_ROUND_FIELD_NUMBER: _ClassVar[int]
    VALUE_HASH_FIELD_NUMBER: _ClassVar[int]
    PREPARED_VALUE_HASH_FIELD_NUMBER: _ClassVar[int]
    type: int
    duty: Duty
    peer_idx: int
    round: int
    prepared_round: int
    value_hash: bytes
    prepared_value_hash: bytes
    def __init__(self, type: _Optional[int] = ..., duty: _Optional[_Union[Duty, _Mapping]] = ..., peer_idx: _Optional[int] = ..., round: _Optional[int] = ..., prepared_round: _Optional[int] = ..., value_hash: _Optional[bytes] = ..., prepared_value_hash: _Optional[bytes] = ...) -> None: ...

class Duty(_message.Message):
    __slots__ = ("slot", "type")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    slot: int
    type: int
    def __init__(self, slot: _Optional[int] = ..., type: _Optional[int] = ...) -> None: ...

class Timestamp(_message.Message):
    __slots__ = ("seconds", "nanos")
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    NANOS_FIELD_NUMBER: _ClassVar[int]
    seconds: int
    nanos: int
    def __init__(self, seconds: _Optional[int] = ..., nanos: _Optional[int] = ...) -> None: ...
