"""Elections, for logs: who leads as far as this node knows, and when it stands for election itself.

A follower that hears nothing of a leader for its *election timeout* first asks whether a candidacy would be
welcome (a *pre-vote*).  A node refuses that if it leads, or heard of a leader within the shortest election
timeout.  So a node that was cut off, or starts late, does not disturb a leader that works: only with the
consent of a phase-1 quorum does it raise its ballot, become a candidate and run phase 1.

Timeouts are different by rank and by chance, so that mostly one node stands at a time. Nothing here is
needed for safety: two leaders at a time are two ballots, and phase 1 sees to those.

Source: pre-vote as in Ongaro, *Consensus: Bridging Theory and Practice* (2014), section 9.6.
"""

from enum import Enum
from typing import Any, Final, NamedTuple, Self, TypeAlias

from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.contract.context import NEVER_S
from paxos.contract.context import Context as AnyContext
from paxos.quorum import Phase

__all__ = ["Election", "PreVote", "PreVoted", "Role"]


#: The context of a replica whose settings have `heartbeat_s`, `election_min_s` and `election_max_s`.
Context: TypeAlias = AnyContext[Any]

#: `draw("election", _DRAWS)`: how finely the random part of a timeout is cut.
_DRAWS: Final = 256


class PreVote(NamedTuple):
    """Asks whether a candidacy at `ballot` would be welcome. It promises nothing and changes nothing."""

    ballot: Ballot


class PreVoted(NamedTuple):
    """The answer: no leader has been heard of lately and the ballot would be above `promised`; or not."""

    ballot: Ballot
    granted: bool
    promised: Ballot | None


class Role(Enum):
    """What a node is in its current ballot."""

    FOLLOWER = "follower"
    ASKING = "asking"  # whether its candidacy would be welcome
    CANDIDATE = "candidate"  # phase 1 under way
    LEADER = "leader"


class Election:
    """Who leads, as far as this node knows.

    Args:
        context: the replica's.
        now_s: the time.
        is_new: whether this node never took part in anything; then it need not wait long.

    Attributes:
        role: this node's.
        leader: whom it follows, itself if it leads; None while it knows of none.
        last_leader: the leader before that was lost, to tell a change.
        seen: the highest ballot that somebody was heard to have joined.
        deadline_s: when it gives up the leader, or the present attempt.
        timeout_s: how long after the last word of the leader that is.
        heard_s: when it last heard of a leader.
    """

    __slots__ = (
        "_asked",
        "_granted",
        "deadline_s",
        "heard_s",
        "last_leader",
        "leader",
        "role",
        "seen",
        "timeout_s",
    )

    def __init__(self, context: Context, now_s: float, is_new: bool) -> None:
        self.role: Role = Role.FOLLOWER
        self.leader: NodeId | None = None
        self.last_leader: NodeId | None = None
        self.seen: Ballot = BOTTOM
        self.heard_s: float = -NEVER_S
        self._asked: Ballot = BOTTOM
        self._granted: set[NodeId] = set()
        self.timeout_s: float = context.settings.election_max_s
        self.deadline_s: float = now_s
        if context.is_member and context.quorums.is_quorum({context.node}, Phase.ONE):
            return  # nobody to wait for
        self.draw(context, now_s)
        if is_new and context.is_member:
            # No leader is disturbed by who asks before; the first of a new cluster need not wait.
            rank = context.members.index(context.node)
            self.deadline_s = now_s + context.settings.heartbeat_s * (1 + rank)

    def draw(self, context: Context, now_s: float) -> None:
        """Take another timeout, and wait for it from now."""
        low_s, high_s = context.settings.election_min_s, context.settings.election_max_s
        # By rank and by draw, so that even equal draws end a duel.
        rank = context.members.index(context.node) / len(context.members) if context.is_member else 0.0
        share = (rank + context.draw("election", _DRAWS) / _DRAWS) % 1.0
        self.timeout_s = low_s + (high_s - low_s) * share
        self.deadline_s = now_s + self.timeout_s

    def hear(self, leader: NodeId, now_s: float, context: Context, ballot: Ballot, cause: str) -> None:
        """A word of the leader of the ballot joined."""
        self.heard_s = now_s
        self.deadline_s = now_s + self.timeout_s
        if leader != self.leader:
            self.role = Role.FOLLOWER
            self.leader = leader
            context.event("follows", cause, leader=leader, ballot=ballot)
            self._tell_change(context, cause)

    def lead(self, context: Context, ballot: Ballot) -> None:
        """This node leads now."""
        self.role, self.leader = Role.LEADER, context.node
        self.deadline_s = NEVER_S
        self._tell_change(context, "Promise")

    def _tell_change(self, context: Context, cause: str) -> None:
        if self.last_leader not in (None, self.leader):
            context.event("leader change", cause, leader=self.leader, before=self.last_leader)
        self.last_leader = self.leader

    def follow_nobody(self, context: Context, now_s: float) -> None:
        """This node neither leads nor stands any more, and knows of no leader."""
        self.role, self.leader = Role.FOLLOWER, None
        self._granted = set()
        self.draw(context, now_s)

    def see(self, ballot: Ballot) -> None:
        """Somebody joined this ballot."""
        if ballot > self.seen:
            self.seen = ballot

    # --- pre-votes -----------------------------------------------------------------------------

    def ask(self, ballot: Ballot, context: Context, now_s: float) -> bool:
        """Ask whether a candidacy at this ballot would be welcome; whether the own consent is enough."""
        self.role, self.leader = Role.ASKING, None
        self._asked, self._granted = ballot, {context.node}
        self.draw(context, now_s)
        context.send_members(PreVote(ballot))
        return self._is_welcome(context)

    def consider(self, message: PreVote, promised: Ballot, context: Context, now_s: float) -> PreVoted:
        """Whether a candidacy of another would be welcome here."""
        lately = now_s < self.heard_s + context.settings.election_min_s
        granted = self.role is not Role.LEADER and not lately and message.ballot > promised
        return PreVoted(message.ballot, granted, promised if promised > BOTTOM else None)

    def on_pre_voted(self, sender: NodeId, message: PreVoted, context: Context) -> bool:
        """Count an answer of a member; whether this one completes the consent of a phase-1 quorum."""
        if message.promised is not None:
            self.see(message.promised)
        if self.role is not Role.ASKING or message.ballot != self._asked or not message.granted:
            return False
        self._granted.add(sender)
        return self._is_welcome(context)

    def _is_welcome(self, context: Context) -> bool:
        return context.quorums.is_quorum(self._granted, Phase.ONE)

    def clone(self) -> Self:
        """An independent copy."""
        other = object.__new__(type(self))
        for name in Election.__slots__:
            setattr(other, name, getattr(self, name))
        other._granted = set(self._granted)
        return other

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for those that behave alike; times left out."""
        return (self.role, self.leader, self.seen, self._asked, frozenset(self._granted))
