from qbft.wire.v1 import messages_pb2 as _messages_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SignRequest(_message.Message):
    __slots__ = ("cluster_id", "validator", "store_id", "sequence", "votes")
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATOR_FIELD_NUMBER: _ClassVar[int]
    STORE_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    VOTES_FIELD_NUMBER: _ClassVar[int]
    cluster_id: bytes
    validator: int
    store_id: bytes
    sequence: int
    votes: _containers.RepeatedCompositeFieldContainer[_messages_pb2.Vote]
    def __init__(self, cluster_id: _Optional[bytes] = ..., validator: _Optional[int] = ..., store_id: _Optional[bytes] = ..., sequence: _Optional[int] = ..., votes: _Optional[_Iterable[_Union[_messages_pb2.Vote, _Mapping]]] = ...) -> None: ...

class SignReply(_message.Message):
    __slots__ = ("signature", "refused", "public_key")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    signature: bytes
    refused: str
    public_key: bytes
    def __init__(self, signature: _Optional[bytes] = ..., refused: _Optional[str] = ..., public_key: _Optional[bytes] = ...) -> None: ...
