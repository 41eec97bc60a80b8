"""Casting a vote: it is written down, and told to everybody, oneself included, once it is on disk.

Whoever asks for a vote comes here: the proposer beside the acceptor, another node's, the coordinator; and
where acceptors recover from collisions themselves, the votes of a fast ballot that can choose nothing any
more.
"""

from typing import Final

from fastpaxos.collision import has_collided, recover
from fastpaxos.log.acceptor import LogAcceptor
from fastpaxos.log.context import Context
from fastpaxos.log.learner import LogLearner
from fastpaxos.log.messages import Voted
from fastpaxos.log.records import pack_slot, slot_key
from paxos.ballot import Ballot

__all__ = ["cast", "recover_alone", "write_slot"]

_new: Final = tuple.__new__


def write_slot(context: Context, acceptor: LogAcceptor, slot: int) -> None:
    """Write down what is held of a slot."""
    vote = acceptor.slots[slot]
    record = pack_slot(vote.promised, vote.accepted_ballot, vote.accepted_value, vote.chosen)
    context.out.writes.append((slot_key(slot), record))


def cast(context: Context, acceptor: LogAcceptor, ballot: Ballot, slot: int, value: bytes) -> bool:
    """Vote, if the acceptor may, and tell everybody; whether it did.

    Raises:
        ProtocolBreach, ValueError: as `LogAcceptor.vote`.
    """
    if not context.is_member or not acceptor.vote(ballot, slot, value):
        return False
    write_slot(context, acceptor, slot)
    voted = _new(Voted, (ballot, slot, value))
    sends = context.out.sends
    for node in context.others:
        sends.append((node, voted))
    sends.append((context.node, voted))
    return True


def recover_alone(
    context: Context, acceptor: LogAcceptor, learner: LogLearner, ballot: Ballot, slot: int
) -> bool:
    """Uncoordinated recovery: vote in the next fast ballot by what the votes in this one leave to pick.

    Args:
        context, acceptor, learner: the replica's.
        ballot: the fast ballot, of which a vote was counted just now.
        slot: where.

    Returns:
        Whether a vote was cast.

    Source: Lamport, *Fast Paxos* (2006), section 2.2.
    """
    rounds, tally = context.rounds, learner.tallies.get(slot)
    following = rounds.successor(ballot)
    if tally is None or following is None or not rounds.is_fast(following):
        return False
    votes = tally.votes(ballot)
    if not has_collided(votes, context.quorums):
        return False
    found = recover(ballot, votes, context.quorums, rounds)
    if found is None or found.pick.value is None:
        return False
    return cast(context, acceptor, found.ballot, slot, found.pick.value)
