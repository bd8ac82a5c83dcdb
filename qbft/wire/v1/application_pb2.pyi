from qbft.wire.v1 import messages_pb2 as _messages_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ProvideValueRequest(_message.Message):
    __slots__ = ("instance",)
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    instance: _messages_pb2.InstanceId
    def __init__(self, instance: _Optional[_Union[_messages_pb2.InstanceId, _Mapping]] = ...) -> None: ...

class ProvideValueReply(_message.Message):
    __slots__ = ("proposal",)
    PROPOSAL_FIELD_NUMBER: _ClassVar[int]
    proposal: _messages_pb2.Proposal
    def __init__(self, proposal: _Optional[_Union[_messages_pb2.Proposal, _Mapping]] = ...) -> None: ...

class CheckValueRequest(_message.Message):
    __slots__ = ("instance", "value", "proposer")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    PROPOSER_FIELD_NUMBER: _ClassVar[int]
    instance: _messages_pb2.InstanceId
    value: bytes
    proposer: int
    def __init__(self, instance: _Optional[_Union[_messages_pb2.InstanceId, _Mapping]] = ..., value: _Optional[bytes] = ..., proposer: _Optional[int] = ...) -> None: ...

class CheckValueReply(_message.Message):
    __slots__ = ("valid",)
    VALID_FIELD_NUMBER: _ClassVar[int]
    valid: bool
    def __init__(self, valid: _Optional[bool] = ...) -> None: ...

class DecidedRequest(_message.Message):
    __slots__ = ("decision", "position")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    decision: _messages_pb2.Decision
    position: int
    def __init__(self, decision: _Optional[_Union[_messages_pb2.Decision, _Mapping]] = ..., position: _Optional[int] = ...) -> None: ...

class DecidedReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
