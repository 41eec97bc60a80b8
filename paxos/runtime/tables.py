"""Which messages may travel in which direction: one table for each.

A table that lacks a message refuses it before anything of it is decoded, so a client can not send a
promise, nor a peer ask on behalf of nobody.
"""

import attrs

from paxos.contract import ProtocolDescription
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
from paxos.wire import MessageTable

__all__ = ["FROM_CLIENT", "TO_CLIENT", "Tables"]


def _only(*kinds: type) -> MessageTable:
    return MessageTable(one for one in SERVICE_MESSAGES if one.type in kinds)


#: What a client sends, and what it is sent; the same for every protocol.
FROM_CLIENT = _only(Submit, Cancel, AskStatus)
TO_CLIENT = _only(Reply, StatusReply)


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
        return Tables(protocol.messages + _only(Introduce, Introduced, LostDisk))
