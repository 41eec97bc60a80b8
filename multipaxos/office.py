"""A leader in office: phase 2 in the midst of the other rooms.

What a leader proposes it also votes for, what is chosen it applies, what reads wait for it has confirmed,
and what others did not answer it asks again. It keeps its office as long as a phase-2 quorum answers its
heartbeats, and gives it to an heir when told. An office lasts for one ballot: a replica that sees a higher
one closes it.

A leader may lack what is chosen below its floor, and until that has come it serves nobody. If it does not
come, the leader gives up: to who has it, if that one still lives. If it does not, whoever leads next without
its promise finds the votes of the others, as in any election, and has them chosen anew.
"""

from collections.abc import Sequence
from typing import Final

from multipaxos.acceptor import LogAcceptor
from multipaxos.context import NEVER_S, Context
from multipaxos.learner import LogLearner
from multipaxos.lease import Grant, Lease
from multipaxos.messages import Accepted, Heartbeat, HeartbeatReply, Release, TakeOver
from multipaxos.proposer import Leader
from multipaxos.reads import LeaderReads
from multipaxos.records import pack_vote, slot_key
from paxos.ballot import NodeId
from paxos.basic.values import MAX_VALUE_BYTES, pack_value, take_value
from paxos.command import MAX_COMMAND_BYTES, Command
from paxos.contract import Outcome, OutcomeKind

__all__ = ["Office"]

# Called directly on the hot path: a NamedTuple's own constructor is a Python function.
_new: Final = tuple.__new__


class Office:
    """One leadership.

    Args:
        context: the replica's.
        acceptor: the replica's.
        learner: the replica's.
        grant: what the replica's own acceptor granted.
        leader: phase 2, of a ballot that a phase-1 quorum promised.

    Attributes:
        lease: what is held of grants, for reads without a round.
        reads: reads that wait for confirmation.
    """

    __slots__ = ("_acceptor", "_context", "_grant", "_lack", "_learner", "leader", "lease", "reads")

    def __init__(
        self, context: Context, acceptor: LogAcceptor, learner: LogLearner, grant: Grant, leader: Leader
    ) -> None:
        self._context = context
        self._acceptor = acceptor
        self._learner = learner
        self._grant = grant
        self.leader: Leader = leader
        self.lease: Lease = Lease()
        self.reads: LeaderReads = LeaderReads()
        # Until when what is chosen below the floor must come, and how far this node was when that was set.
        self._lack: tuple[float, int] = (NEVER_S, 0)

    # --- proposing -------------------------------------------------------------------------------

    def begin(self, now_s: float) -> None:
        """Say that this node leads, and propose what phase 1 obliged to."""
        self.leader.heartbeat_at_s = now_s + self._context.settings.heartbeat_s
        self._wait_for_floor(now_s)
        self._beat(now_s)
        self._pay()

    def _wait_for_floor(self, now_s: float) -> None:
        """Until all up to the floor is here, it must get on."""
        done, patience_s = self._learner.committed, self._context.settings.election_max_s
        self._lack = (now_s + patience_s if done < self.leader.floor else NEVER_S, done)

    @property
    def room(self) -> int:
        """Commands that would be placed now."""
        leader = self.leader
        return self._window if leader.heir is None and not leader.debts else 0

    @property
    def _window(self) -> int:
        """Slots that may be proposed now."""
        leader, settings = self.leader, self._context.settings
        if leader.flight_bytes >= settings.window_bytes:
            return 0
        # Where a snapshot is missing here nothing is applied, and what is placed above must stay bounded.
        done = self._learner.committed
        room = settings.window - leader.last + (done if done > leader.floor else leader.floor)
        return room if room > 0 else 0

    def submit(self, commands: Sequence[Command]) -> None:
        """Place each command in a slot of its own, as far as there is room."""
        room = self.room
        limit_bytes = self._context.settings.window_bytes
        for command in commands:
            if len(command.payload) > MAX_COMMAND_BYTES:
                size = f"a command of {len(command.payload)} bytes; the limit is {MAX_COMMAND_BYTES}"
                self._context.reject(command.request, size)
                continue
            if room <= 0:
                self._context.reject(command.request, self._why_not())
                continue
            value = pack_value(command)
            if len(value) > MAX_VALUE_BYTES:
                size = f"a command of {len(value)} bytes with what it touches; the limit is {MAX_VALUE_BYTES}"
                self._context.reject(command.request, size)
                continue
            self._place(value, command)
            room = room - 1 if self.leader.flight_bytes < limit_bytes else 0

    def _why_not(self) -> str:
        leader, node = self.leader, self._context.node
        if leader.heir is not None:
            return f"the leadership is being handed to node {leader.heir}; try again"
        if leader.debts:
            return f"node {node} has just become leader, and repairs what was left half done; try again"
        flying = f"{len(leader.flights)} commands of {leader.flight_bytes} bytes are in flight"
        return f"node {node} has no room: {flying}; try again"

    def _place(self, value: bytes, command: Command | None) -> None:
        """2a: propose in the next slot, and vote for it."""
        out = self._context.out
        accept = self.leader.propose(value, command)
        ballot, slot, _, _ = accept
        sends = out.sends
        for node in self._context.others:
            sends.append((node, accept))
        if self._acceptor.vote(ballot, slot, value):
            out.writes.append((slot_key(slot), pack_vote(ballot, value)))

    def _pay(self) -> None:
        """Propose what phase 1 obliged to, as far as the window allows."""
        debts, room = self.leader.debts, self._window
        while debts and room > 0:
            self._place(debts.popleft(), None)
            room -= 1

    # --- counting ----------------------------------------------------------------------------------

    def on_accepted(self, sender: NodeId, message: Accepted, now_s: float) -> None:
        """Count a member's votes at this ballot; what becomes chosen is applied, in order."""
        leader = self.leader
        ballot, runs = message
        if ballot != leader.ballot:
            return
        peer = leader.peers.get(sender)
        if peer is not None:
            peer.heard_s = now_s
            peer.delay_s = self._context.settings.repeat_s
        elif sender != leader.node:
            return  # an observer has no vote
        ready = False
        for first, last in runs:
            ready = leader.count(sender, first, last) or ready
        if ready:
            self._commit(now_s)

    def _commit(self, now_s: float) -> None:
        leader, learner = self.leader, self._learner
        taken = leader.take_committed()
        if taken[0][0] == learner.committed + 1:
            done = [(slot, flight.command or take_value(flight.value)) for slot, flight in taken]
            learner.take(done, leader.ballot, self._context)
        else:
            # What is below is still missing here: the log keeps these until it has come.
            learner.hear(leader.ballot, leader.committed, learner.source)
            learner.advance(self._acceptor, self._context, now_s)
        if leader.heir is not None:
            self._hand_over()

    def on_heartbeat_reply(self, sender: NodeId, message: HeartbeatReply, now_s: float) -> None:
        """A member had joined no higher ballot after a heartbeat of this one was sent."""
        leader = self.leader
        peer = leader.peers.get(sender)
        if peer is None or message.ballot != leader.ballot:
            return
        peer.heard_s = now_s
        peer.sequence = max(peer.sequence, min(message.sequence, leader.sequence))
        peer.committed = max(peer.committed, message.committed)
        if message.sequence:
            self.lease.answer(sender, message.sequence)
        self.reads.finish(leader, self._context)
        if leader.heir == sender:
            self._hand_over()

    # --- staying in office ---------------------------------------------------------------------------

    def conclude(self, now_s: float) -> None:
        """At the end of a turn: pay debts, begin a round for reads, tell of commits that nothing carries."""
        leader = self.leader
        if leader.debts:
            self._pay()
        if self.reads.waiting and self._holds_lease(now_s):
            self.reads.serve(leader, self._context)
        if self.reads.waiting and self.reads.wants_round(leader):
            self._beat(now_s)
            self.reads.begin(leader)
            self.reads.finish(leader, self._context)
        elif leader.told < leader.committed == leader.last:
            if leader.heir is not None:
                self._beat(now_s)  # the answer tells whether the heir has all
                return
            leader.told = leader.committed
            self._context.send_others(_new(Heartbeat, (leader.ballot, 0, leader.committed)))

    def _holds_lease(self, now_s: float) -> bool:
        leader, context = self.leader, self._context
        if not context.settings.lease_s or leader.committed < leader.owed:
            return False
        return self.lease.holds(leader.node, context.quorums, context.settings, now_s)

    def _beat(self, now_s: float) -> None:
        leader = self.leader
        leader.sequence += 1
        if not self.lease.ended:
            # Counted from before it is sent; the own acceptor grants too.
            self.lease.send(leader.sequence, now_s)
            self._grant.give(leader.ballot, now_s, self._context.settings)
        leader.told = leader.committed
        self._context.send_others(_new(Heartbeat, (leader.ballot, leader.sequence, leader.committed)))

    def tick(self, now_s: float) -> str:
        """Send a heartbeat and repeat what is unanswered, when due; why to lead no more, or nothing."""
        leader, settings = self.leader, self._context.settings
        if now_s >= leader.heir_until_s:
            self._context.event("transfer failed", "tick", heir=leader.heir, ballot=leader.ballot)
            leader.heir, leader.heir_until_s = None, NEVER_S
        if now_s < leader.heartbeat_at_s:
            return ""
        if not leader.is_heard(now_s - settings.election_max_s):
            return "no quorum answers"
        if now_s >= self._lack[0]:
            if self._learner.committed == self._lack[1]:
                return self._give_up()
            self._wait_for_floor(now_s)
        leader.heartbeat_at_s = now_s + settings.heartbeat_s
        if self.lease.ended:
            self._end_lease()  # again, for who missed it
        self._beat(now_s)
        self._hand_over()
        for node, peer in leader.peers.items():
            if now_s >= peer.repeat_at_s:
                accepts = leader.unheard(node, peer.sent, settings.repeat_slots, settings.page_bytes)
                for accept in accepts:
                    self._context.send(node, accept)
                peer.delay_s = min(peer.delay_s * 2, settings.repeat_max_s) if accepts else settings.repeat_s
                peer.repeat_at_s = now_s + peer.delay_s
                peer.sent = leader.last
        return ""

    def _give_up(self) -> str:
        """What is chosen below the floor does not come: let who has it lead, if it is there. The reason."""
        leader = self.leader
        if leader.source in leader.peers:
            self._end_lease()
            self._context.send(leader.source, TakeOver(leader.ballot))
        return f"what is chosen up to slot {leader.floor} does not come from node {leader.source}"

    def hand_to(self, heir: NodeId, now_s: float) -> None:
        """Take no more commands, and have `heir` lead as soon as it has all that is placed."""
        leader, context = self.leader, self._context
        leader.heir, leader.heir_until_s = heir, now_s + context.settings.transfer_s
        context.event("transfer", "instruct", heir=heir, ballot=leader.ballot)
        self._end_lease()
        self._beat(now_s)  # its answer tells how far the heir is
        self._hand_over()

    def _end_lease(self) -> None:
        """Serve no read by lease any more, and then let others promise again."""
        if self._context.settings.lease_s:
            self.lease.ended = True
            self._grant.release(self.leader.ballot)
            self._context.send_members(Release(self.leader.ballot))

    def _hand_over(self) -> None:
        leader, heir = self.leader, self.leader.heir
        if heir is None or leader.debts or leader.committed < leader.last:
            return
        if leader.peers[heir].committed >= leader.last:
            self._context.send(heir, TakeOver(leader.ballot))

    def close(self, reason: str) -> None:
        """Lead no more. Who waits is told that what becomes of its command is not known here."""
        context = self._context
        unknown = f"node {context.node} lost the leadership before this was known to be chosen: {reason}"
        for flight in self.leader.flights.values():
            if flight.command is not None:
                outcome = (flight.command.request, OutcomeKind.UNKNOWN, None, None, unknown)
                context.out.outcomes.append(_new(Outcome, outcome))
        for request in self.reads.take_all():
            context.reject(request, f"node {context.node} lost the leadership: {reason}; try again")

    def clone(self, context: Context, acceptor: LogAcceptor, learner: LogLearner, grant: Grant) -> "Office":
        """An independent copy, in the midst of the copies of the other rooms."""
        other = Office(context, acceptor, learner, grant, self.leader.clone())
        other.lease, other.reads, other._lack = self.lease.clone(), self.reads.clone(), self._lack
        return other

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for those that behave alike."""
        return (self.leader.fingerprint(), self.lease.fingerprint(), self.reads.fingerprint())
