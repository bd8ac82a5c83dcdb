from qbft.wire.v1 import messages_pb2 as _messages_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Remembered(_message.Message):
    __slots__ = ("store_id", "sequence", "vote")
    STORE_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    VOTE_FIELD_NUMBER: _ClassVar[int]
    store_id: bytes
    sequence: int
    vote: _messages_pb2.SignedVote
    def __init__(self, store_id: _Optional[bytes] = ..., sequence: _Optional[int] = ..., vote: _Optional[_Union[_messages_pb2.SignedVote, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("protocol_min", "protocol_max", "cluster_id", "validator", "store_id", "vote_sequence", "acknowledged", "remembered")
    PROTOCOL_MIN_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_MAX_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATOR_FIELD_NUMBER: _ClassVar[int]
    STORE_ID_FIELD_NUMBER: _ClassVar[int]
    VOTE_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    REMEMBERED_FIELD_NUMBER: _ClassVar[int]
    protocol_min: int
    protocol_max: int
    cluster_id: bytes
    validator: int
    store_id: bytes
    vote_sequence: int
    acknowledged: int
    remembered: Remembered
    def __init__(self, protocol_min: _Optional[int] = ..., protocol_max: _Optional[int] = ..., cluster_id: _Optional[bytes] = ..., validator: _Optional[int] = ..., store_id: _Optional[bytes] = ..., vote_sequence: _Optional[int] = ..., acknowledged: _Optional[int] = ..., remembered: _Optional[_Union[Remembered, _Mapping]] = ...) -> None: ...

class OwnSection(_message.Message):
    __slots__ = ("store_id", "sequence", "signature", "votes")
    STORE_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    VOTES_FIELD_NUMBER: _ClassVar[int]
    store_id: bytes
    sequence: int
    signature: bytes
    votes: _containers.RepeatedCompositeFieldContainer[_messages_pb2.SignedVote]
    def __init__(self, store_id: _Optional[bytes] = ..., sequence: _Optional[int] = ..., signature: _Optional[bytes] = ..., votes: _Optional[_Iterable[_Union[_messages_pb2.SignedVote, _Mapping]]] = ...) -> None: ...

class WantedValue(_message.Message):
    __slots__ = ("instance", "digest")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    instance: _messages_pb2.InstanceId
    digest: bytes
    def __init__(self, instance: _Optional[_Union[_messages_pb2.InstanceId, _Mapping]] = ..., digest: _Optional[bytes] = ...) -> None: ...

class FeedRequest(_message.Message):
    __slots__ = ("after", "limit")
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    after: int
    limit: int
    def __init__(self, after: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...

class FeedPage(_message.Message):
    __slots__ = ("position", "end", "instances")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    position: int
    end: int
    instances: _containers.RepeatedCompositeFieldContainer[_messages_pb2.InstanceId]
    def __init__(self, position: _Optional[int] = ..., end: _Optional[int] = ..., instances: _Optional[_Iterable[_Union[_messages_pb2.InstanceId, _Mapping]]] = ...) -> None: ...

class MemoryRequest(_message.Message):
    __slots__ = ("after",)
    AFTER_FIELD_NUMBER: _ClassVar[int]
    after: int
    def __init__(self, after: _Optional[int] = ...) -> None: ...

class Memory(_message.Message):
    __slots__ = ("after", "next", "is_last", "lost", "feed_end")
    AFTER_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    IS_LAST_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    FEED_END_FIELD_NUMBER: _ClassVar[int]
    after: int
    next: int
    is_last: bool
    lost: bool
    feed_end: int
    def __init__(self, after: _Optional[int] = ..., next: _Optional[int] = ..., is_last: _Optional[bool] = ..., lost: _Optional[bool] = ..., feed_end: _Optional[int] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("own", "relayed", "proposals", "certificates", "wanted_values", "wanted_decisions", "feed_request", "feed_page", "acknowledged", "covers", "covers_after", "memory_wanted", "memory", "marks")
    OWN_FIELD_NUMBER: _ClassVar[int]
    RELAYED_FIELD_NUMBER: _ClassVar[int]
    PROPOSALS_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATES_FIELD_NUMBER: _ClassVar[int]
    WANTED_VALUES_FIELD_NUMBER: _ClassVar[int]
    WANTED_DECISIONS_FIELD_NUMBER: _ClassVar[int]
    FEED_REQUEST_FIELD_NUMBER: _ClassVar[int]
    FEED_PAGE_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    COVERS_FIELD_NUMBER: _ClassVar[int]
    COVERS_AFTER_FIELD_NUMBER: _ClassVar[int]
    MEMORY_WANTED_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    MARKS_FIELD_NUMBER: _ClassVar[int]
    own: OwnSection
    relayed: _containers.RepeatedCompositeFieldContainer[_messages_pb2.SignedVote]
    proposals: _containers.RepeatedCompositeFieldContainer[_messages_pb2.Proposal]
    certificates: _containers.RepeatedCompositeFieldContainer[_messages_pb2.Certificate]
    wanted_values: _containers.RepeatedCompositeFieldContainer[WantedValue]
    wanted_decisions: _containers.RepeatedCompositeFieldContainer[_messages_pb2.InstanceId]
    feed_request: FeedRequest
    feed_page: FeedPage
    acknowledged: int
    covers: int
    covers_after: int
    memory_wanted: MemoryRequest
    memory: Memory
    marks: _containers.RepeatedCompositeFieldContainer[_messages_pb2.InstanceId]
    def __init__(self, own: _Optional[_Union[OwnSection, _Mapping]] = ..., relayed: _Optional[_Iterable[_Union[_messages_pb2.SignedVote, _Mapping]]] = ..., proposals: _Optional[_Iterable[_Union[_messages_pb2.Proposal, _Mapping]]] = ..., certificates: _Optional[_Iterable[_Union[_messages_pb2.Certificate, _Mapping]]] = ..., wanted_values: _Optional[_Iterable[_Union[WantedValue, _Mapping]]] = ..., wanted_decisions: _Optional[_Iterable[_Union[_messages_pb2.InstanceId, _Mapping]]] = ..., feed_request: _Optional[_Union[FeedRequest, _Mapping]] = ..., feed_page: _Optional[_Union[FeedPage, _Mapping]] = ..., acknowledged: _Optional[int] = ..., covers: _Optional[int] = ..., covers_after: _Optional[int] = ..., memory_wanted: _Optional[_Union[MemoryRequest, _Mapping]] = ..., memory: _Optional[_Union[Memory, _Mapping]] = ..., marks: _Optional[_Iterable[_Union[_messages_pb2.InstanceId, _Mapping]]] = ...) -> None: ...

class PeerMessage(_message.Message):
    __slots__ = ("hello", "frame")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    frame: Frame
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., frame: _Optional[_Union[Frame, _Mapping]] = ...) -> None: ...
