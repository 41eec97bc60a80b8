"""The clients of a simulated cluster.

A session is one client with at most one operation under way.  It asks the node beside it; when that is
down, or gives no answer in time, it asks the next one, with the same request id, until somebody answers.
An operation ends like a real client's: rejected after an attempt that may have been taken is unknown.
Closed loop: a fixed number of sessions, each with its share of the operations.  Open loop: operations
arrive whatever happens, and each takes a session that is free, or a new one.

What is asked, and what an answer means, a desk knows (`desk`).
"""

from typing import TYPE_CHECKING, Final

from paxos.contract import Message
from paxos.sim.choices import PARTS
from paxos.sim.desk import AGAIN, ELSEWHERE, LATE, REDIRECT, REJECTED, UNKNOWN, Desk, Ongoing, Session
from paxos.sim.mix import Planned
from paxos.sim.result import Operation
from paxos.sim.workload import Workload

if TYPE_CHECKING:
    from paxos.sim.loop import Site
    from paxos.sim.world import World

__all__ = ["Clients", "Session"]

_NS: Final = 1_000_000_000
_NEVER: Final = 1 << 62
#: After a refused or broken connection, the next node is tried so much later, then twice as long.
_RETRY_NS: Final = 2_000_000
_RETRY_MAX_NS: Final = 500_000_000
#: So many refusals of one operation a client takes for an answer.
_MAX_REFUSALS: Final = 16
#: The audit asks every node about so many names at most.
_AUDIT_MAX: Final = 24
_MAX_SESSIONS: Final = 100_000


class Clients:
    """All clients of a run.

    Args:
        world: the run.
        workload: what they do.
        desk: what they say and hear.
        duration_ns: when they stop beginning new operations.
        planned: when operations arrive, where the workload is open and there is such a plan.
    """

    def __init__(
        self,
        world: "World",
        workload: Workload,
        desk: Desk,
        duration_ns: int,
        planned: Planned | None = None,
    ) -> None:
        self._world = world
        self._desk = desk
        self._workload = workload
        self._choices = world.choices
        self._sites = list(world.sites.values())
        self._timeout_ns = int(workload.timeout_s * _NS)
        self._sessions: list[Session] = []
        # Where a plan is kept to, clients remember who leads, as real ones do.
        self._remembers = planned is not None
        self._idle: dict[int, list[Session]] = {site.id: [] for site in self._sites}
        self._begun = 0
        self._ended = False
        self._operations: list[Ongoing] = []
        #: Operations that wait for an answer.
        self.waiting: int = 0
        begins_ns = int(workload.start_s * _NS)
        sessions = min(workload.clients * len(self._sites), max(workload.operations, 1))
        each = max(-(-workload.operations // sessions), 1)
        #: Think time that fills the run; the last answers should come before its end.
        self._spread_ns = max(duration_ns - begins_ns, 0) * 9 // (10 * each)
        if workload.rate is not None:
            self._arrival_ns = max(int(_NS / workload.rate), 1)
            if planned is None:
                world.at(begins_ns, self._arrive)
                return
            rate = workload.rate / len(self._sites)
            for site in self._sites:
                world.at(begins_ns + planned.pause_ns(site.id, rate), self._come, site, planned, rate)
            return
        for index in range(sessions):
            left = workload.operations // sessions + (index < workload.operations % sessions)
            session = self._session(self._sites[index % len(self._sites)], left)
            if left:
                number = index // len(self._sites)
                first_ns = self._first_ns() if planned is None else planned.begin_ns(session.home.id, number)
                world.at(begins_ns + first_ns, self._begin, session)

    # --- beginning operations -------------------------------------------------------------------

    @property
    def exhausted(self) -> bool:
        """Whether no operation will begin any more."""
        return self._ended or self._begun >= self._workload.operations

    def end(self) -> None:
        """No new operations from now on."""
        self._ended = True

    def audit(self) -> None:
        """Ask every running node about what clients were told."""
        names = self._desk.audited(self._operations)[:_AUDIT_MAX]
        for site in self._sites:
            if site.stopped is None:
                for name in names:
                    session = self._free(site)
                    self._ask(session, self._desk.reading(session, name, self._world.now_ns))

    def _session(self, home: "Site", left: int) -> Session:
        session = Session(len(self._sessions), home, left)
        self._sessions.append(session)
        return session

    def _free(self, home: "Site") -> Session:
        idle = self._idle[home.id]
        return idle.pop() if idle else self._session(home, 0)

    def _first_ns(self) -> int:
        if self._workload.think_s is not None:
            return 0
        return self._spread_ns * self._choices.draw("think", PARTS) // PARTS

    def _think_ns(self) -> int:
        if self._workload.think_s is not None:
            return int(self._workload.think_s * _NS)
        return self._spread_ns * (PARTS // 2 + self._choices.draw("think", PARTS)) // PARTS

    def _arrive(self) -> None:
        if self.exhausted:
            return
        self._arrive_at(self._sites[self._begun % len(self._sites)])
        self._world.at(self._world.now_ns + self._arrival_ns, self._arrive)

    def _come(self, home: "Site", planned: Planned, rate: float) -> None:
        """One operation arrives at a node, as planned."""
        if self.exhausted:
            return
        self._arrive_at(home)
        self._world.at(self._world.now_ns + planned.pause_ns(home.id, rate), self._come, home, planned, rate)

    def _arrive_at(self, home: "Site") -> None:
        if self._idle[home.id] or len(self._sessions) < _MAX_SESSIONS:
            self._operate(self._free(home))
        else:
            self._begun += 1
            self._world.seen["no session"] += 1

    def _begin(self, session: Session) -> None:
        if not self._ended:
            session.left -= 1
            self._operate(session)

    def _operate(self, session: Session) -> None:
        begun = self._begun
        self._begun += 1
        self._ask(session, self._desk.invent(session, begun, self._world.now_ns))

    def _ask(self, session: Session, op: Ongoing) -> None:
        session.op = op
        self._operations.append(op)
        self.waiting += 1
        session.site = session.home
        if session.leader is not None and op.request is not None:
            session.site = session.leader
        self._send(session, op, 0)

    # --- asking, and asking elsewhere --------------------------------------------------------------

    def _send(self, session: Session, op: Ongoing, later_ns: int) -> None:
        world = self._world
        session.deadline_ns = deadline = world.now_ns + later_ns + self._timeout_ns
        delay = 0
        if session.site is not session.home:
            delay = world.network.delays_ns[session.home.id][session.site.id]
        world.request_at(world.now_ns + later_ns + delay, session, op.message)
        if deadline < session.timer_ns:
            session.timer_ns = deadline
            world.at(deadline, self._timer, session)

    def _elsewhere(self, session: Session, op: Ongoing, later_ns: int) -> None:
        session.leader = None
        position = self._sites.index(session.site)
        session.site = self._sites[(position + 1) % len(self._sites)]
        op.tries += 1
        self._world.seen["retry"] += 1
        self._send(session, op, later_ns)

    def refused(self, session: Session) -> None:
        """Nobody listens at the node it asked."""
        op = session.op
        if op is not None:
            self._elsewhere(session, op, self._pause_ns(op.tries))

    @staticmethod
    def _pause_ns(times: int) -> int:
        return min(_RETRY_NS << min(times, 20), _RETRY_MAX_NS)

    def broken(self, site: "Site") -> None:
        """The node is down: connections to it break."""
        for session in self._sessions:
            if session.op is not None and session.site is site:
                session.op.unknown = True
                self.refused(session)

    def _timer(self, session: Session) -> None:
        session.timer_ns = _NEVER
        op, world = session.op, self._world
        if op is None:
            return
        if world.now_ns < session.deadline_ns:
            session.timer_ns = session.deadline_ns
            world.at(session.deadline_ns, self._timer, session)
            return
        world.seen["timeout"] += 1
        op.unknown = True
        # Either it hangs up, or it leaves the question standing: both happen to clients.
        if self._choices.draw("hang up", 2):
            world.hang_up(session.site, session.index)
        self._elsewhere(session, op, 0)

    def expects(self, session: Session, message: Message) -> bool:
        """Whether a question on its way is still the one the session asks."""
        return session.op is not None and session.op.message is message

    def session(self, index: int) -> Session:
        """The session that a node knows as client `index`."""
        return self._sessions[index]

    def answered(
        self, session: Session, site: "Site", reply: Message, place: tuple[int, int] | None = None
    ) -> None:
        """An answer has reached its client; of a log with the marks between which it was given."""
        op, world = session.op, self._world
        answer = None if op is None else self._desk.heard(session, op, reply)
        if op is None or answer is None or answer.kind == LATE:
            world.seen["late answer"] += 1
            return
        if answer.kind == REDIRECT:
            self._redirected(session, op, answer.node)
            return
        if answer.kind == AGAIN:
            self._send(session, op, 0)
            return
        kind = answer.kind
        if kind == ELSEWHERE:
            if op.tries < _MAX_REFUSALS:
                self._elsewhere(session, op, self._pause_ns(op.tries))
                return
            kind = REJECTED
        # As the real client has it: rejected is final only if no earlier attempt may have been taken.
        op.outcome = UNKNOWN if kind == REJECTED and op.unknown else kind
        op.return_ns = world.now_ns
        op.out = answer.out
        op.node = site.id
        op.place = place
        self._desk.ended(session, op)
        session.op = None
        self.waiting -= 1
        if session.left > 0 and not self._ended:
            world.at(world.now_ns + self._think_ns(), self._begin, session)
        else:
            self._idle[session.home.id].append(session)
        if not self.waiting:
            world.settled()

    def _redirected(self, session: Session, op: Ongoing, node: str) -> None:
        session.site = next((s for s in self._sites if str(s.id) == node), session.home)
        if self._remembers:
            session.leader = session.site
        op.redirects += 1
        self._world.seen["redirected"] += 1
        # Two nodes that name each other must not be asked for ever at one moment.
        self._send(session, op, 0 if op.redirects == 1 else self._pause_ns(op.redirects))

    def history(self) -> tuple[Operation, ...]:
        """What was done so far, in order of call."""
        return tuple(
            Operation(
                client=op.session.index,
                kind=op.kind,
                name=op.name,
                value=op.value,
                call_s=op.call_ns / _NS,
                return_s=None if op.return_ns is None else op.return_ns / _NS,
                outcome=op.outcome,
                out=op.out,
                node=op.node,
                home=op.session.home.id,
                old=op.old,
                request=op.request,
                place=op.place,
            )
            for op in self._operations
        )
