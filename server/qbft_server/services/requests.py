"""What requests name: instances and topics, and whether those are for what is asked."""

from __future__ import annotations

import grpc

from qbft.cluster import Cluster
from qbft.core import InstanceId
from qbft_server.services.admission import Caller
from qbft_server.services.refusal import Refusal, denied, invalid


def instance_of(topic: str, height: int) -> InstanceId:
    """The instance that a request names.

    Raises:
        Refusal: there can be none of that name.
    """
    try:
        return InstanceId(topic, height)
    except ValueError as error:
        raise invalid(str(error)) from error


def readable(client: Caller, topic: str, height: int) -> InstanceId:
    """The instance at which a client may read; refused before anything is looked up.

    Raises:
        Refusal: it may not, whatever there is; or there can be none of that name.
    """
    instance = instance_of(topic, height)
    if not client.permissions.may_read(topic):
        raise denied()
    return instance


def check_ordered(cluster: Cluster, topic: str, *, appends: bool) -> None:
    """See that what is wanted fits the topic: ordered ones are appended to, others proposed for.

    Raises:
        Refusal: it does not.
    """
    if cluster.policy(topic).ordered == appends:
        return
    what = (
        "this topic is not ordered, by the cluster file; use Propose"
        if appends
        else "this topic is ordered, by the cluster file; use Append"
    )
    raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, what)
