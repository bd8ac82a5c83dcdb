from qbft.wire.v1 import messages_pb2 as _messages_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CaptureInstanceRequest(_message.Message):
    __slots__ = ("instance",)
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    instance: _messages_pb2.InstanceId
    def __init__(self, instance: _Optional[_Union[_messages_pb2.InstanceId, _Mapping]] = ...) -> None: ...

class CaptureInstanceReply(_message.Message):
    __slots__ = ("record",)
    RECORD_FIELD_NUMBER: _ClassVar[int]
    record: CapturedInstance
    def __init__(self, record: _Optional[_Union[CapturedInstance, _Mapping]] = ...) -> None: ...

class Capture(_message.Message):
    __slots__ = ("version", "program", "records")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    version: int
    program: str
    records: _containers.RepeatedCompositeFieldContainer[CapturedInstance]
    def __init__(self, version: _Optional[int] = ..., program: _Optional[str] = ..., records: _Optional[_Iterable[_Union[CapturedInstance, _Mapping]]] = ...) -> None: ...

class CapturedInstance(_message.Message):
    __slots__ = ("instance", "validator", "nodes", "first_leader", "clock_offset_ms", "opened_ms", "closed_ms", "dropped", "entries")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    VALIDATOR_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    FIRST_LEADER_FIELD_NUMBER: _ClassVar[int]
    CLOCK_OFFSET_MS_FIELD_NUMBER: _ClassVar[int]
    OPENED_MS_FIELD_NUMBER: _ClassVar[int]
    CLOSED_MS_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    instance: _messages_pb2.InstanceId
    validator: int
    nodes: int
    first_leader: int
    clock_offset_ms: int
    opened_ms: int
    closed_ms: int
    dropped: int
    entries: _containers.RepeatedCompositeFieldContainer[CapturedEntry]
    def __init__(self, instance: _Optional[_Union[_messages_pb2.InstanceId, _Mapping]] = ..., validator: _Optional[int] = ..., nodes: _Optional[int] = ..., first_leader: _Optional[int] = ..., clock_offset_ms: _Optional[int] = ..., opened_ms: _Optional[int] = ..., closed_ms: _Optional[int] = ..., dropped: _Optional[int] = ..., entries: _Optional[_Iterable[_Union[CapturedEntry, _Mapping]]] = ...) -> None: ...

class CapturedMessage(_message.Message):
    __slots__ = ("type", "source", "round", "value", "prepared_round", "prepared_value", "justification")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    PREPARED_ROUND_FIELD_NUMBER: _ClassVar[int]
    PREPARED_VALUE_FIELD_NUMBER: _ClassVar[int]
    JUSTIFICATION_FIELD_NUMBER: _ClassVar[int]
    type: _messages_pb2.MessageType
    source: int
    round: int
    value: bytes
    prepared_round: int
    prepared_value: bytes
    justification: _containers.RepeatedCompositeFieldContainer[CapturedMessage]
    def __init__(self, type: _Optional[_Union[_messages_pb2.MessageType, str]] = ..., source: _Optional[int] = ..., round: _Optional[int] = ..., value: _Optional[bytes] = ..., prepared_round: _Optional[int] = ..., prepared_value: _Optional[bytes] = ..., justification: _Optional[_Iterable[_Union[CapturedMessage, _Mapping]]] = ...) -> None: ...

class CapturedVote(_message.Message):
    __slots__ = ("vote", "prepares")
    VOTE_FIELD_NUMBER: _ClassVar[int]
    PREPARES_FIELD_NUMBER: _ClassVar[int]
    vote: CapturedMessage
    prepares: _containers.RepeatedCompositeFieldContainer[CapturedMessage]
    def __init__(self, vote: _Optional[_Union[CapturedMessage, _Mapping]] = ..., prepares: _Optional[_Iterable[_Union[CapturedMessage, _Mapping]]] = ...) -> None: ...

class CapturedResume(_message.Message):
    __slots__ = ("votes", "input")
    VOTES_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    votes: _containers.RepeatedCompositeFieldContainer[CapturedVote]
    input: bytes
    def __init__(self, votes: _Optional[_Iterable[_Union[CapturedVote, _Mapping]]] = ..., input: _Optional[bytes] = ...) -> None: ...

class CapturedTimer(_message.Message):
    __slots__ = ("round", "deadline_ms")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    round: int
    deadline_ms: int
    def __init__(self, round: _Optional[int] = ..., deadline_ms: _Optional[int] = ...) -> None: ...

class CapturedNothing(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CapturedRule(_message.Message):
    __slots__ = ("rule", "round", "to_round")
    RULE_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    TO_ROUND_FIELD_NUMBER: _ClassVar[int]
    rule: str
    round: int
    to_round: int
    def __init__(self, rule: _Optional[str] = ..., round: _Optional[int] = ..., to_round: _Optional[int] = ...) -> None: ...

class CapturedDecision(_message.Message):
    __slots__ = ("round", "value")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    round: int
    value: bytes
    def __init__(self, round: _Optional[int] = ..., value: _Optional[bytes] = ...) -> None: ...

class CapturedEffect(_message.Message):
    __slots__ = ("broadcast", "timer_started", "timer_stopped", "decided", "failed", "rule_fired", "round_changed", "unjustified")
    BROADCAST_FIELD_NUMBER: _ClassVar[int]
    TIMER_STARTED_FIELD_NUMBER: _ClassVar[int]
    TIMER_STOPPED_FIELD_NUMBER: _ClassVar[int]
    DECIDED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    RULE_FIRED_FIELD_NUMBER: _ClassVar[int]
    ROUND_CHANGED_FIELD_NUMBER: _ClassVar[int]
    UNJUSTIFIED_FIELD_NUMBER: _ClassVar[int]
    broadcast: CapturedMessage
    timer_started: int
    timer_stopped: CapturedNothing
    decided: CapturedDecision
    failed: str
    rule_fired: CapturedRule
    round_changed: CapturedRule
    unjustified: CapturedMessage
    def __init__(self, broadcast: _Optional[_Union[CapturedMessage, _Mapping]] = ..., timer_started: _Optional[int] = ..., timer_stopped: _Optional[_Union[CapturedNothing, _Mapping]] = ..., decided: _Optional[_Union[CapturedDecision, _Mapping]] = ..., failed: _Optional[str] = ..., rule_fired: _Optional[_Union[CapturedRule, _Mapping]] = ..., round_changed: _Optional[_Union[CapturedRule, _Mapping]] = ..., unjustified: _Optional[_Union[CapturedMessage, _Mapping]] = ...) -> None: ...

class CapturedEntry(_message.Message):
    __slots__ = ("at_ms", "sender", "message", "start", "input", "timer_expired", "resumed", "timer", "effects", "put_aside", "cut")
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    TIMER_EXPIRED_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    TIMER_FIELD_NUMBER: _ClassVar[int]
    EFFECTS_FIELD_NUMBER: _ClassVar[int]
    PUT_ASIDE_FIELD_NUMBER: _ClassVar[int]
    CUT_FIELD_NUMBER: _ClassVar[int]
    at_ms: int
    sender: int
    message: CapturedMessage
    start: CapturedNothing
    input: bytes
    timer_expired: CapturedNothing
    resumed: CapturedResume
    timer: CapturedTimer
    effects: _containers.RepeatedCompositeFieldContainer[CapturedEffect]
    put_aside: str
    cut: int
    def __init__(self, at_ms: _Optional[int] = ..., sender: _Optional[int] = ..., message: _Optional[_Union[CapturedMessage, _Mapping]] = ..., start: _Optional[_Union[CapturedNothing, _Mapping]] = ..., input: _Optional[bytes] = ..., timer_expired: _Optional[_Union[CapturedNothing, _Mapping]] = ..., resumed: _Optional[_Union[CapturedResume, _Mapping]] = ..., timer: _Optional[_Union[CapturedTimer, _Mapping]] = ..., effects: _Optional[_Iterable[_Union[CapturedEffect, _Mapping]]] = ..., put_aside: _Optional[str] = ..., cut: _Optional[int] = ...) -> None: ...
