from qbft.wire.v1 import messages_pb2 as _messages_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JournalVote(_message.Message):
    __slots__ = ("vote", "prepares")
    VOTE_FIELD_NUMBER: _ClassVar[int]
    PREPARES_FIELD_NUMBER: _ClassVar[int]
    vote: _messages_pb2.SignedVote
    prepares: _containers.RepeatedCompositeFieldContainer[_messages_pb2.SignedVote]
    def __init__(self, vote: _Optional[_Union[_messages_pb2.SignedVote, _Mapping]] = ..., prepares: _Optional[_Iterable[_Union[_messages_pb2.SignedVote, _Mapping]]] = ...) -> None: ...

class JournalProposal(_message.Message):
    __slots__ = ("proposal", "is_input", "is_own")
    PROPOSAL_FIELD_NUMBER: _ClassVar[int]
    IS_INPUT_FIELD_NUMBER: _ClassVar[int]
    IS_OWN_FIELD_NUMBER: _ClassVar[int]
    proposal: _messages_pb2.Proposal
    is_input: bool
    is_own: bool
    def __init__(self, proposal: _Optional[_Union[_messages_pb2.Proposal, _Mapping]] = ..., is_input: _Optional[bool] = ..., is_own: _Optional[bool] = ...) -> None: ...

class JournalQuarantine(_message.Message):
    __slots__ = ("instance", "reason", "abandoned")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ABANDONED_FIELD_NUMBER: _ClassVar[int]
    instance: _messages_pb2.InstanceId
    reason: str
    abandoned: bool
    def __init__(self, instance: _Optional[_Union[_messages_pb2.InstanceId, _Mapping]] = ..., reason: _Optional[str] = ..., abandoned: _Optional[bool] = ...) -> None: ...

class JournalMark(_message.Message):
    __slots__ = ("topic", "height")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    topic: str
    height: int
    def __init__(self, topic: _Optional[str] = ..., height: _Optional[int] = ...) -> None: ...

class LostVotes(_message.Message):
    __slots__ = ("store_id", "sequence")
    STORE_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    store_id: bytes
    sequence: int
    def __init__(self, store_id: _Optional[bytes] = ..., sequence: _Optional[int] = ...) -> None: ...

class VoteFloor(_message.Message):
    __slots__ = ("topic", "height")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    topic: str
    height: int
    def __init__(self, topic: _Optional[str] = ..., height: _Optional[int] = ...) -> None: ...

class JournalStanding(_message.Message):
    __slots__ = ("lost", "replaced", "next_sequence", "floors", "shared")
    LOST_FIELD_NUMBER: _ClassVar[int]
    REPLACED_FIELD_NUMBER: _ClassVar[int]
    NEXT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    FLOORS_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    lost: bool
    replaced: _containers.RepeatedCompositeFieldContainer[LostVotes]
    next_sequence: int
    floors: _containers.RepeatedCompositeFieldContainer[VoteFloor]
    shared: bool
    def __init__(self, lost: _Optional[bool] = ..., replaced: _Optional[_Iterable[_Union[LostVotes, _Mapping]]] = ..., next_sequence: _Optional[int] = ..., floors: _Optional[_Iterable[_Union[VoteFloor, _Mapping]]] = ..., shared: _Optional[bool] = ...) -> None: ...

class JournalRecord(_message.Message):
    __slots__ = ("vote", "proposal", "decision", "quarantine", "standing", "mark", "evidence")
    VOTE_FIELD_NUMBER: _ClassVar[int]
    PROPOSAL_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    QUARANTINE_FIELD_NUMBER: _ClassVar[int]
    STANDING_FIELD_NUMBER: _ClassVar[int]
    MARK_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    vote: JournalVote
    proposal: JournalProposal
    decision: _messages_pb2.Decision
    quarantine: JournalQuarantine
    standing: JournalStanding
    mark: JournalMark
    evidence: _messages_pb2.Evidence
    def __init__(self, vote: _Optional[_Union[JournalVote, _Mapping]] = ..., proposal: _Optional[_Union[JournalProposal, _Mapping]] = ..., decision: _Optional[_Union[_messages_pb2.Decision, _Mapping]] = ..., quarantine: _Optional[_Union[JournalQuarantine, _Mapping]] = ..., standing: _Optional[_Union[JournalStanding, _Mapping]] = ..., mark: _Optional[_Union[JournalMark, _Mapping]] = ..., evidence: _Optional[_Union[_messages_pb2.Evidence, _Mapping]] = ...) -> None: ...

class JournalCommit(_message.Message):
    __slots__ = ("records",)
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[JournalRecord]
    def __init__(self, records: _Optional[_Iterable[_Union[JournalRecord, _Mapping]]] = ...) -> None: ...
