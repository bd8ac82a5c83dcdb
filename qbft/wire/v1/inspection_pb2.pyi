from qbft.wire.v1 import messages_pb2 as _messages_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class InstanceState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INSTANCE_STATE_UNSPECIFIED: _ClassVar[InstanceState]
    INSTANCE_STATE_UNKNOWN: _ClassVar[InstanceState]
    INSTANCE_STATE_HELD: _ClassVar[InstanceState]
    INSTANCE_STATE_OPEN: _ClassVar[InstanceState]
    INSTANCE_STATE_BARE: _ClassVar[InstanceState]
    INSTANCE_STATE_DECIDED: _ClassVar[InstanceState]
    INSTANCE_STATE_QUARANTINED: _ClassVar[InstanceState]
    INSTANCE_STATE_LET_GO: _ClassVar[InstanceState]
    INSTANCE_STATE_BELOW_MARK: _ClassVar[InstanceState]
INSTANCE_STATE_UNSPECIFIED: InstanceState
INSTANCE_STATE_UNKNOWN: InstanceState
INSTANCE_STATE_HELD: InstanceState
INSTANCE_STATE_OPEN: InstanceState
INSTANCE_STATE_BARE: InstanceState
INSTANCE_STATE_DECIDED: InstanceState
INSTANCE_STATE_QUARANTINED: InstanceState
INSTANCE_STATE_LET_GO: InstanceState
INSTANCE_STATE_BELOW_MARK: InstanceState

class InspectInstanceRequest(_message.Message):
    __slots__ = ("instance",)
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    instance: _messages_pb2.InstanceId
    def __init__(self, instance: _Optional[_Union[_messages_pb2.InstanceId, _Mapping]] = ...) -> None: ...

class InstanceAccount(_message.Message):
    __slots__ = ("state", "round", "cast", "pre_prepares", "prepares", "commits", "round_changes", "later", "prepared_round", "has_input", "guarded", "adopts", "awaits_bytes_of", "awaits_check_of", "dropped_of", "held_of", "timer_ms", "waits_for_company", "leader", "next_leader", "found_invalid_of", "waits_for_place_of", "not_adopted_of")
    STATE_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    CAST_FIELD_NUMBER: _ClassVar[int]
    PRE_PREPARES_FIELD_NUMBER: _ClassVar[int]
    PREPARES_FIELD_NUMBER: _ClassVar[int]
    COMMITS_FIELD_NUMBER: _ClassVar[int]
    ROUND_CHANGES_FIELD_NUMBER: _ClassVar[int]
    LATER_FIELD_NUMBER: _ClassVar[int]
    PREPARED_ROUND_FIELD_NUMBER: _ClassVar[int]
    HAS_INPUT_FIELD_NUMBER: _ClassVar[int]
    GUARDED_FIELD_NUMBER: _ClassVar[int]
    ADOPTS_FIELD_NUMBER: _ClassVar[int]
    AWAITS_BYTES_OF_FIELD_NUMBER: _ClassVar[int]
    AWAITS_CHECK_OF_FIELD_NUMBER: _ClassVar[int]
    DROPPED_OF_FIELD_NUMBER: _ClassVar[int]
    HELD_OF_FIELD_NUMBER: _ClassVar[int]
    TIMER_MS_FIELD_NUMBER: _ClassVar[int]
    WAITS_FOR_COMPANY_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    NEXT_LEADER_FIELD_NUMBER: _ClassVar[int]
    FOUND_INVALID_OF_FIELD_NUMBER: _ClassVar[int]
    WAITS_FOR_PLACE_OF_FIELD_NUMBER: _ClassVar[int]
    NOT_ADOPTED_OF_FIELD_NUMBER: _ClassVar[int]
    state: InstanceState
    round: int
    cast: _containers.RepeatedScalarFieldContainer[_messages_pb2.MessageType]
    pre_prepares: _containers.RepeatedScalarFieldContainer[int]
    prepares: _containers.RepeatedScalarFieldContainer[int]
    commits: _containers.RepeatedScalarFieldContainer[int]
    round_changes: _containers.RepeatedScalarFieldContainer[int]
    later: _containers.RepeatedScalarFieldContainer[int]
    prepared_round: int
    has_input: bool
    guarded: bool
    adopts: bool
    awaits_bytes_of: _containers.RepeatedScalarFieldContainer[int]
    awaits_check_of: _containers.RepeatedScalarFieldContainer[int]
    dropped_of: _containers.RepeatedScalarFieldContainer[int]
    held_of: _containers.RepeatedScalarFieldContainer[int]
    timer_ms: int
    waits_for_company: bool
    leader: int
    next_leader: int
    found_invalid_of: _containers.RepeatedScalarFieldContainer[int]
    waits_for_place_of: _containers.RepeatedScalarFieldContainer[int]
    not_adopted_of: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, state: _Optional[_Union[InstanceState, str]] = ..., round: _Optional[int] = ..., cast: _Optional[_Iterable[_Union[_messages_pb2.MessageType, str]]] = ..., pre_prepares: _Optional[_Iterable[int]] = ..., prepares: _Optional[_Iterable[int]] = ..., commits: _Optional[_Iterable[int]] = ..., round_changes: _Optional[_Iterable[int]] = ..., later: _Optional[_Iterable[int]] = ..., prepared_round: _Optional[int] = ..., has_input: _Optional[bool] = ..., guarded: _Optional[bool] = ..., adopts: _Optional[bool] = ..., awaits_bytes_of: _Optional[_Iterable[int]] = ..., awaits_check_of: _Optional[_Iterable[int]] = ..., dropped_of: _Optional[_Iterable[int]] = ..., held_of: _Optional[_Iterable[int]] = ..., timer_ms: _Optional[int] = ..., waits_for_company: _Optional[bool] = ..., leader: _Optional[int] = ..., next_leader: _Optional[int] = ..., found_invalid_of: _Optional[_Iterable[int]] = ..., waits_for_place_of: _Optional[_Iterable[int]] = ..., not_adopted_of: _Optional[_Iterable[int]] = ...) -> None: ...

class RejectCount(_message.Message):
    __slots__ = ("reason", "count")
    REASON_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    reason: str
    count: int
    def __init__(self, reason: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class BoundCount(_message.Message):
    __slots__ = ("bound", "count")
    BOUND_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    bound: str
    count: int
    def __init__(self, bound: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class PeerAccount(_message.Message):
    __slots__ = ("validator", "connected", "last_heard_ms", "rejects", "bounds")
    VALIDATOR_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    LAST_HEARD_MS_FIELD_NUMBER: _ClassVar[int]
    REJECTS_FIELD_NUMBER: _ClassVar[int]
    BOUNDS_FIELD_NUMBER: _ClassVar[int]
    validator: int
    connected: bool
    last_heard_ms: int
    rejects: _containers.RepeatedCompositeFieldContainer[RejectCount]
    bounds: _containers.RepeatedCompositeFieldContainer[BoundCount]
    def __init__(self, validator: _Optional[int] = ..., connected: _Optional[bool] = ..., last_heard_ms: _Optional[int] = ..., rejects: _Optional[_Iterable[_Union[RejectCount, _Mapping]]] = ..., bounds: _Optional[_Iterable[_Union[BoundCount, _Mapping]]] = ...) -> None: ...

class InspectInstanceReply(_message.Message):
    __slots__ = ("validator", "voting", "account", "peers")
    VALIDATOR_FIELD_NUMBER: _ClassVar[int]
    VOTING_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    validator: int
    voting: bool
    account: InstanceAccount
    peers: _containers.RepeatedCompositeFieldContainer[PeerAccount]
    def __init__(self, validator: _Optional[int] = ..., voting: _Optional[bool] = ..., account: _Optional[_Union[InstanceAccount, _Mapping]] = ..., peers: _Optional[_Iterable[_Union[PeerAccount, _Mapping]]] = ...) -> None: ...
