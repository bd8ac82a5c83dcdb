from qbft.wire.v1 import capture_pb2 as _capture_pb2
from qbft.wire.v1 import inspection_pb2 as _inspection_pb2
from qbft.wire.v1 import messages_pb2 as _messages_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DecisionState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DECISION_STATE_UNSPECIFIED: _ClassVar[DecisionState]
    DECISION_STATE_DECIDED: _ClassVar[DecisionState]
    DECISION_STATE_UNDECIDED: _ClassVar[DecisionState]
    DECISION_STATE_UNKNOWN: _ClassVar[DecisionState]
    DECISION_STATE_BELOW_MARK: _ClassVar[DecisionState]
DECISION_STATE_UNSPECIFIED: DecisionState
DECISION_STATE_DECIDED: DecisionState
DECISION_STATE_UNDECIDED: DecisionState
DECISION_STATE_UNKNOWN: DecisionState
DECISION_STATE_BELOW_MARK: DecisionState

class ProposeRequest(_message.Message):
    __slots__ = ("proposal",)
    PROPOSAL_FIELD_NUMBER: _ClassVar[int]
    proposal: _messages_pb2.Proposal
    def __init__(self, proposal: _Optional[_Union[_messages_pb2.Proposal, _Mapping]] = ...) -> None: ...

class ProposeReply(_message.Message):
    __slots__ = ("decision",)
    DECISION_FIELD_NUMBER: _ClassVar[int]
    decision: _messages_pb2.Decision
    def __init__(self, decision: _Optional[_Union[_messages_pb2.Decision, _Mapping]] = ...) -> None: ...

class ProposeStreamRequest(_message.Message):
    __slots__ = ("id", "proposal")
    ID_FIELD_NUMBER: _ClassVar[int]
    PROPOSAL_FIELD_NUMBER: _ClassVar[int]
    id: int
    proposal: _messages_pb2.Proposal
    def __init__(self, id: _Optional[int] = ..., proposal: _Optional[_Union[_messages_pb2.Proposal, _Mapping]] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("code", "message", "first_digest", "retry_ms")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FIRST_DIGEST_FIELD_NUMBER: _ClassVar[int]
    RETRY_MS_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    first_digest: bytes
    retry_ms: int
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., first_digest: _Optional[bytes] = ..., retry_ms: _Optional[int] = ...) -> None: ...

class ProposeStreamReply(_message.Message):
    __slots__ = ("id", "decision", "failure")
    ID_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    id: int
    decision: _messages_pb2.Decision
    failure: Failure
    def __init__(self, id: _Optional[int] = ..., decision: _Optional[_Union[_messages_pb2.Decision, _Mapping]] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ...) -> None: ...

class GetDecisionRequest(_message.Message):
    __slots__ = ("instance",)
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    instance: _messages_pb2.InstanceId
    def __init__(self, instance: _Optional[_Union[_messages_pb2.InstanceId, _Mapping]] = ...) -> None: ...

class GetDecisionReply(_message.Message):
    __slots__ = ("state", "decision", "low_water_mark")
    STATE_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    LOW_WATER_MARK_FIELD_NUMBER: _ClassVar[int]
    state: DecisionState
    decision: _messages_pb2.Decision
    low_water_mark: int
    def __init__(self, state: _Optional[_Union[DecisionState, str]] = ..., decision: _Optional[_Union[_messages_pb2.Decision, _Mapping]] = ..., low_water_mark: _Optional[int] = ...) -> None: ...

class ListDecisionsRequest(_message.Message):
    __slots__ = ("topic", "from_height", "limit")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    FROM_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    topic: str
    from_height: int
    limit: int
    def __init__(self, topic: _Optional[str] = ..., from_height: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...

class ListDecisionsReply(_message.Message):
    __slots__ = ("decisions", "next_height")
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    decisions: _containers.RepeatedCompositeFieldContainer[_messages_pb2.Decision]
    next_height: int
    def __init__(self, decisions: _Optional[_Iterable[_Union[_messages_pb2.Decision, _Mapping]]] = ..., next_height: _Optional[int] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("topic", "from_height")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    FROM_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    topic: str
    from_height: int
    def __init__(self, topic: _Optional[str] = ..., from_height: _Optional[int] = ...) -> None: ...

class WatchAllRequest(_message.Message):
    __slots__ = ("cursor",)
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    cursor: bytes
    def __init__(self, cursor: _Optional[bytes] = ...) -> None: ...

class WatchAllReply(_message.Message):
    __slots__ = ("decision", "cursor")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    decision: _messages_pb2.Decision
    cursor: bytes
    def __init__(self, decision: _Optional[_Union[_messages_pb2.Decision, _Mapping]] = ..., cursor: _Optional[bytes] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PeerStatus(_message.Message):
    __slots__ = ("validator", "connected", "last_heard_ms")
    VALIDATOR_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    LAST_HEARD_MS_FIELD_NUMBER: _ClassVar[int]
    validator: int
    connected: bool
    last_heard_ms: int
    def __init__(self, validator: _Optional[int] = ..., connected: _Optional[bool] = ..., last_heard_ms: _Optional[int] = ...) -> None: ...

class GetStatusReply(_message.Message):
    __slots__ = ("node_name", "validator", "cluster_id", "nodes", "faulty", "version", "voting", "quorum_reachable", "open_instances", "decisions", "store_id", "peers", "clock_unix_ms", "why_not_voting", "kept_out")
    NODE_NAME_FIELD_NUMBER: _ClassVar[int]
    VALIDATOR_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    FAULTY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    VOTING_FIELD_NUMBER: _ClassVar[int]
    QUORUM_REACHABLE_FIELD_NUMBER: _ClassVar[int]
    OPEN_INSTANCES_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    STORE_ID_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    CLOCK_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    WHY_NOT_VOTING_FIELD_NUMBER: _ClassVar[int]
    KEPT_OUT_FIELD_NUMBER: _ClassVar[int]
    node_name: str
    validator: int
    cluster_id: bytes
    nodes: int
    faulty: int
    version: str
    voting: bool
    quorum_reachable: bool
    open_instances: int
    decisions: int
    store_id: bytes
    peers: _containers.RepeatedCompositeFieldContainer[PeerStatus]
    clock_unix_ms: int
    why_not_voting: str
    kept_out: int
    def __init__(self, node_name: _Optional[str] = ..., validator: _Optional[int] = ..., cluster_id: _Optional[bytes] = ..., nodes: _Optional[int] = ..., faulty: _Optional[int] = ..., version: _Optional[str] = ..., voting: _Optional[bool] = ..., quorum_reachable: _Optional[bool] = ..., open_instances: _Optional[int] = ..., decisions: _Optional[int] = ..., store_id: _Optional[bytes] = ..., peers: _Optional[_Iterable[_Union[PeerStatus, _Mapping]]] = ..., clock_unix_ms: _Optional[int] = ..., why_not_voting: _Optional[str] = ..., kept_out: _Optional[int] = ...) -> None: ...

class ListHeightsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListHeightsReply(_message.Message):
    __slots__ = ("highest",)
    HIGHEST_FIELD_NUMBER: _ClassVar[int]
    highest: _containers.RepeatedCompositeFieldContainer[_messages_pb2.InstanceId]
    def __init__(self, highest: _Optional[_Iterable[_Union[_messages_pb2.InstanceId, _Mapping]]] = ...) -> None: ...

class ListEvidenceRequest(_message.Message):
    __slots__ = ("after",)
    AFTER_FIELD_NUMBER: _ClassVar[int]
    after: int
    def __init__(self, after: _Optional[int] = ...) -> None: ...

class ListEvidenceReply(_message.Message):
    __slots__ = ("evidence", "next")
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    evidence: _containers.RepeatedCompositeFieldContainer[_messages_pb2.Evidence]
    next: int
    def __init__(self, evidence: _Optional[_Iterable[_Union[_messages_pb2.Evidence, _Mapping]]] = ..., next: _Optional[int] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("request_id", "value", "until", "author", "signature")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    request_id: bytes
    value: bytes
    until: int
    author: bytes
    signature: bytes
    def __init__(self, request_id: _Optional[bytes] = ..., value: _Optional[bytes] = ..., until: _Optional[int] = ..., author: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class AppendRequest(_message.Message):
    __slots__ = ("topic", "entry")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    topic: str
    entry: Entry
    def __init__(self, topic: _Optional[str] = ..., entry: _Optional[_Union[Entry, _Mapping]] = ...) -> None: ...

class AppendReply(_message.Message):
    __slots__ = ("height", "index", "decision")
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    height: int
    index: int
    decision: _messages_pb2.Decision
    def __init__(self, height: _Optional[int] = ..., index: _Optional[int] = ..., decision: _Optional[_Union[_messages_pb2.Decision, _Mapping]] = ...) -> None: ...

class GetNextHeightRequest(_message.Message):
    __slots__ = ("topic",)
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    topic: str
    def __init__(self, topic: _Optional[str] = ...) -> None: ...

class GetNextHeightReply(_message.Message):
    __slots__ = ("height",)
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    height: int
    def __init__(self, height: _Optional[int] = ...) -> None: ...
