from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MessageType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MESSAGE_TYPE_UNSPECIFIED: _ClassVar[MessageType]
    MESSAGE_TYPE_PRE_PREPARE: _ClassVar[MessageType]
    MESSAGE_TYPE_PREPARE: _ClassVar[MessageType]
    MESSAGE_TYPE_COMMIT: _ClassVar[MessageType]
    MESSAGE_TYPE_ROUND_CHANGE: _ClassVar[MessageType]
    MESSAGE_TYPE_DECIDED: _ClassVar[MessageType]
MESSAGE_TYPE_UNSPECIFIED: MessageType
MESSAGE_TYPE_PRE_PREPARE: MessageType
MESSAGE_TYPE_PREPARE: MessageType
MESSAGE_TYPE_COMMIT: MessageType
MESSAGE_TYPE_ROUND_CHANGE: MessageType
MESSAGE_TYPE_DECIDED: MessageType

class InstanceId(_message.Message):
    __slots__ = ("topic", "height")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    topic: str
    height: int
    def __init__(self, topic: _Optional[str] = ..., height: _Optional[int] = ...) -> None: ...

class Vote(_message.Message):
    __slots__ = ("type", "instance", "source", "round", "digest", "prepared_round", "prepared_digest")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    PREPARED_ROUND_FIELD_NUMBER: _ClassVar[int]
    PREPARED_DIGEST_FIELD_NUMBER: _ClassVar[int]
    type: MessageType
    instance: InstanceId
    source: int
    round: int
    digest: bytes
    prepared_round: int
    prepared_digest: bytes
    def __init__(self, type: _Optional[_Union[MessageType, str]] = ..., instance: _Optional[_Union[InstanceId, _Mapping]] = ..., source: _Optional[int] = ..., round: _Optional[int] = ..., digest: _Optional[bytes] = ..., prepared_round: _Optional[int] = ..., prepared_digest: _Optional[bytes] = ...) -> None: ...

class VoteSignature(_message.Message):
    __slots__ = ("store_id", "sequence", "size", "index", "path", "signature")
    STORE_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    store_id: bytes
    sequence: int
    size: int
    index: int
    path: _containers.RepeatedScalarFieldContainer[bytes]
    signature: bytes
    def __init__(self, store_id: _Optional[bytes] = ..., sequence: _Optional[int] = ..., size: _Optional[int] = ..., index: _Optional[int] = ..., path: _Optional[_Iterable[bytes]] = ..., signature: _Optional[bytes] = ...) -> None: ...

class SignedVote(_message.Message):
    __slots__ = ("vote", "signature", "justification")
    VOTE_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    JUSTIFICATION_FIELD_NUMBER: _ClassVar[int]
    vote: Vote
    signature: VoteSignature
    justification: _containers.RepeatedCompositeFieldContainer[SignedVote]
    def __init__(self, vote: _Optional[_Union[Vote, _Mapping]] = ..., signature: _Optional[_Union[VoteSignature, _Mapping]] = ..., justification: _Optional[_Iterable[_Union[SignedVote, _Mapping]]] = ...) -> None: ...

class Proposal(_message.Message):
    __slots__ = ("instance", "value", "proposer", "signature")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    PROPOSER_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    instance: InstanceId
    value: bytes
    proposer: bytes
    signature: bytes
    def __init__(self, instance: _Optional[_Union[InstanceId, _Mapping]] = ..., value: _Optional[bytes] = ..., proposer: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class CommitSignature(_message.Message):
    __slots__ = ("source", "signature")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    source: int
    signature: VoteSignature
    def __init__(self, source: _Optional[int] = ..., signature: _Optional[_Union[VoteSignature, _Mapping]] = ...) -> None: ...

class Certificate(_message.Message):
    __slots__ = ("instance", "round", "digest", "commits")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    COMMITS_FIELD_NUMBER: _ClassVar[int]
    instance: InstanceId
    round: int
    digest: bytes
    commits: _containers.RepeatedCompositeFieldContainer[CommitSignature]
    def __init__(self, instance: _Optional[_Union[InstanceId, _Mapping]] = ..., round: _Optional[int] = ..., digest: _Optional[bytes] = ..., commits: _Optional[_Iterable[_Union[CommitSignature, _Mapping]]] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("instance", "round", "value", "certificate", "own")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    OWN_FIELD_NUMBER: _ClassVar[int]
    instance: InstanceId
    round: int
    value: bytes
    certificate: Certificate
    own: bool
    def __init__(self, instance: _Optional[_Union[InstanceId, _Mapping]] = ..., round: _Optional[int] = ..., value: _Optional[bytes] = ..., certificate: _Optional[_Union[Certificate, _Mapping]] = ..., own: _Optional[bool] = ...) -> None: ...

class Evidence(_message.Message):
    __slots__ = ("first", "second")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    SECOND_FIELD_NUMBER: _ClassVar[int]
    first: SignedVote
    second: SignedVote
    def __init__(self, first: _Optional[_Union[SignedVote, _Mapping]] = ..., second: _Optional[_Union[SignedVote, _Mapping]] = ...) -> None: ...
