"""Which messages may travel in which direction: one table for each.

A table that lacks a message refuses it before anything of it is decoded, so a client can not send a
promise, nor a peer ask on behalf of nobody.
"""

import attrs

from paxos.contract import Decides, ProtocolDescription
from paxos.service import (
    SERVICE_MESSAGES,
    AskStatus,
    Cancel,
    Introduce,
    Introduced,
    LostDisk,
    Reply,
    StatusReply,
    Submit,
)
from paxos.service.log_messages import (
    LOG_MESSAGES,
    AskBirth,
    Birth,
    CancelQuery,
    Instruct,
    Query,
    QueryReply,
    Refused,
    Results,
    SnapshotAsk,
    SnapshotChunk,
    SnapshotKept,
    SnapshotOffer,
    SubmitMany,
)
from paxos.wire import MessageTable

__all__ = ["FROM_CLIENT", "TO_CLIENT", "Tables"]


def _only(*kinds: type) -> MessageTable:
    return MessageTable(one for one in SERVICE_MESSAGES + LOG_MESSAGES if one.type in kinds)


#: What a client sends, and what it is sent; the same for every protocol, so that a client that asks a cluster
#: for what it does not do can be told.
FROM_CLIENT = _only(Submit, Cancel, AskStatus, SubmitMany, Query, CancelQuery, AskBirth, Instruct)
TO_CLIENT = _only(Reply, StatusReply, Results, Refused, QueryReply, Birth)
_BETWEEN_NODES = _only(Introduce, Introduced, LostDisk)
_ABOUT_SNAPSHOTS = _only(SnapshotOffer, SnapshotAsk, SnapshotChunk, SnapshotKept)


@attrs.frozen
class Tables:
    """The tables of one node.

    Args:
        from_peer: what nodes send each other.
        from_client: what clients send.
        to_client: what they are sent.
    """

    from_peer: MessageTable
    from_client: MessageTable = FROM_CLIENT
    to_client: MessageTable = TO_CLIENT

    @staticmethod
    def of(protocol: ProtocolDescription) -> "Tables":
        """The tables of a node that runs this protocol."""
        between = protocol.messages + _BETWEEN_NODES
        return Tables(between + _ABOUT_SNAPSHOTS if protocol.decides is Decides.LOG else between)
