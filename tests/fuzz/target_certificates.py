"""The certificate verifier: whatever the file holds, it proves what was signed or nothing.

The keys have signed the COMMITs of two decisions and no others, so a file that verifies must be
about one of these, whatever else was changed in it (SCENARIOS G10, I4).
"""

from __future__ import annotations

from random import Random

from fuzz_cluster import DIGEST, INSTANCE, NAME, PUBLIC, QUORUM, VALUE, certificate, decision
from fuzz_files import check_line
from protobuf_edits import Fill, edited

from qbft.cluster import Cluster, Validator
from qbft.decision import Decision
from qbft.errors import CertificateError
from qbft.verify import verify
from qbft.wire import encode_decision
from qbft.wire.build import fill_certificate
from qbft.wire.v1 import messages_pb2

LATER_ROUND = 3


def seeds() -> list[bytes]:
    """A decision with and without its value, one of all validators, and a bare certificate."""
    later = certificate(range(4), LATER_ROUND)
    bare = messages_pb2.Certificate()
    fill_certificate(bare, later)
    return [
        encode_decision(decision()),
        encode_decision(Decision(VALUE, later, own=True)),
        encode_decision(Decision(None, later)),
        bare.SerializeToString(),
    ]


def mutated(data: bytes, random: Random, fill: Fill) -> bytes:
    """Edit the message."""
    return edited(data, random, fill)


def check(data: bytes) -> None:
    """Verify it; what it proves must be what was signed."""
    try:
        proven = verify(data, CLUSTER)
    except CertificateError as error:
        check_line(str(error))
        return
    assert (proven.instance, proven.digest) == (INSTANCE, DIGEST)
    assert proven.round in (1, LATER_ROUND)
    assert proven.value in (None, VALUE)
    assert len(set(proven.signers)) >= QUORUM


def _cluster() -> Cluster:
    """The cluster of these keys; a verifier asks for no addresses and no TLS keys."""
    validators = tuple(Validator.model_construct(vote_key=key.hex()) for key in PUBLIC)
    return Cluster.model_construct(name=NAME, epoch=0, validators=validators, prefixes=())


CLUSTER = _cluster()
