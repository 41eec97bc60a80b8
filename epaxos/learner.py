"""The learner of EPaxos: what was decided, how it gets about, and in which order it is carried out.

A decision reaches the others in a Commit, without the command, which nearly everybody has from before.  Who
has it not asks.  Every replica also says now and then up to which number of each owner it knows all
decisions; who sees that it knows less, and still does a while later, asks for them.  So a Commit that was
lost does not wait for a recovery.

Each decision goes to the executor, which gives back what can be carried out, in order.
"""

from typing import Final, Self

from epaxos.acceptor import KnownEntry, known_entry
from epaxos.barrier import Barriers
from epaxos.context import NEVER_S, Context
from epaxos.execution import Executor
from epaxos.instances import COMMITTED, Choice, Deps, Instance
from epaxos.messages import Ask, Commit, Gossip, Known
from epaxos.table import Table
from paxos.ballot import NodeId
from paxos.command import NOTHING, is_marker
from paxos.errors import WireError

__all__ = ["EPaxosLearner"]

_new: Final = tuple.__new__
#: Instances in one Commit, at most.
_COMMIT_ENTRIES: Final = 4096
#: A decision waits this part of what a commit takes, at most, until others are told; and not at all when that
#: is less than it pays to wait.
_COMMIT_SHARE: Final = 16
_LEAST_DELAY_S: Final = 0.001


class EPaxosLearner:
    """What was decided, and what was carried out.

    Args:
        table: the instances.
        barriers: where the log is cut.
        context: of the replica.
        now_s: monotonic seconds.

    Attributes:
        executor: orders what was decided.
        barriers: where the log is cut.
        needed: for each member the highest number that something decided depends on.
        news: decided instances whose commands are not known here, and who said so.
        decided: instances decided since the replica last looked.
        gossip_at_s: when to say next what is known.
    """

    def __init__(self, table: Table, barriers: Barriers, context: Context, now_s: float) -> None:
        members = len(context.members)
        self._table = table
        self.executor: Executor = Executor(members)
        self.barriers: Barriers = barriers
        self.needed: Deps = (0,) * members
        self.news: dict[tuple[int, int], tuple[Choice, NodeId]] = {}
        self.decided: list[Instance] = []
        self.gossip_at_s: float = now_s + context.settings.gossip_s
        # What is to be told to everybody in the next Commit.
        self._announced: list[tuple[NodeId, int, bool, Deps]] = []
        # When it is to be sent, if it waits for more; see `EPaxosSettings.commit_delay_s`.
        self.announce_at_s: float = NEVER_S
        # For each member the highest number that somebody knows all decisions up to, and who.
        self._ahead: list[tuple[int, NodeId]] = [(0, 0)] * members
        # How far this replica was when it last gossiped: who is still there is behind, and not just late.
        self._before: list[int] = [0] * members
        # For each member of whom a page was asked, and from which number on.
        self._asked: dict[int, tuple[NodeId, int]] = {}
        # Whether the executor may have something to give.
        self._stirred = False

    # --- decisions ---------------------------------------------------------------------------------

    def decide(
        self, instance: Instance, choice: Choice, context: Context, *, is_settled: bool = True
    ) -> None:
        """This was decided, and its command, if it has one, is known.

        Args:
            instance: which.
            choice: what was decided.
            context: of the replica.
            is_settled: whether it may count: an owner's own fast commit may, when it is durable.

        Raises:
            ProtocolBreach: something else was decided before.
        """
        if self._table.decide(instance, choice, context):
            self.decided.append(instance)
            if self.news:
                self.news.pop((instance.rank, instance.number), None)
            if is_settled:
                self.settle(instance)

    def settle(self, instance: Instance) -> None:
        """A decision may be carried out, as soon as what it depends on was."""
        deps, command, footprint = instance.deps, instance.command, instance.footprint
        assert deps is not None, "a decided instance has dependencies"
        if instance.is_nop or command is None:
            self.executor.commit(instance.rank, instance.number, NOTHING, deps)
        else:
            is_barrier = footprint.everything and is_marker(command)
            self.executor.commit(instance.rank, instance.number, footprint, deps, is_barrier)
            self.needed = tuple(map(max, self.needed, deps))
        self._stirred = True

    def announce(self, instance: Instance, context: Context) -> None:
        """Tell everybody about a decision."""
        assert instance.deps is not None, "a decided instance has dependencies"
        owner = context.members[instance.rank]
        self._announced.append((owner, instance.number, instance.is_nop, instance.deps))

    def flush(self, context: Context, now_s: float, commit_s: float) -> None:
        """Send what is to be told to everybody, when it is time.

        Args:
            context: of the replica.
            now_s: the time, monotonic seconds.
            commit_s: what a commit takes here at present, seconds: see `EPaxosSettings.commit_delay_s`.
        """
        if not self._announced:
            return
        delay_s = min(context.settings.commit_delay_s, commit_s / _COMMIT_SHARE)
        if delay_s >= _LEAST_DELAY_S:
            if self.announce_at_s == NEVER_S:
                self.announce_at_s = now_s + delay_s
            if now_s < self.announce_at_s and len(self._announced) < _COMMIT_ENTRIES:
                return
        self.announce_at_s = NEVER_S
        announced, self._announced = self._announced, []
        for at in range(0, len(announced), _COMMIT_ENTRIES):
            message = Commit(tuple(announced[at : at + _COMMIT_ENTRIES]))
            context.send_others(message)

    def on_commit(self, sender: NodeId, message: Commit, context: Context) -> None:
        """Hear what was decided."""
        table, rank_of = self._table, context.rank
        missing: list[tuple[NodeId, int]] = []
        for owner, number, is_nop, deps in message.entries:
            rank = rank_of.get(owner)
            if rank is None or not context.fits(deps):
                context.event("refused", "Commit", sender=sender, reason="not of this cluster")
                return
            instance = table.by_rank[rank].get(number)
            choice: Choice = _new(Choice, (is_nop, deps))
            if instance is not None and (is_nop or instance.value is not None):
                self.decide(instance, choice, context)
            elif instance is None and number <= table.floor[rank]:
                continue
            elif is_nop:
                self.decide(table.make(rank, number, context), choice, context)
            elif (rank, number) not in self.news:
                self.news[rank, number] = (choice, sender)
                table.top[rank] = max(table.top[rank], number)
                missing.append((owner, number))
        for owner, first, last in _runs(missing):
            context.send(sender, Ask(owner, first, last))

    def on_known(self, sender: NodeId, message: Known, context: Context) -> None:
        """Hear what was decided, commands included; and ask for more, if there is more."""
        ranks = set()
        for owner, number, is_nop, deps, value in message.entries:
            rank = context.rank.get(owner)
            if rank is None or not context.fits(deps):
                context.event("refused", "Known", sender=sender, reason="not of this cluster")
                return
            instance = self._table.find_or_make(rank, number, context)
            if instance is None:
                continue
            ranks.add(rank)
            if instance.phase != COMMITTED and value is not None and instance.value is None:
                try:
                    self._table.learn(instance, value)
                except WireError as error:
                    context.event("refused", "Known", sender=sender, reason=str(error))
                    return
                self._table.save(instance, context)
            self.decide(instance, _new(Choice, (is_nop, deps)), context)
        for rank in sorted(ranks):
            source, first = self._asked.get(rank, (0, 0))
            # A page that brought this replica no further is none after which to ask for the next.
            if source == sender and self.executor.frontier[rank] >= first:
                self._ask(rank, context)

    def value_came(self, instance: Instance, context: Context) -> None:
        """The command of an instance is known; perhaps it was already said to be decided."""
        news = self.news.get((instance.rank, instance.number))
        if news is not None:
            self.decide(instance, news[0], context)

    # --- getting about -----------------------------------------------------------------------------

    def on_ask(self, sender: NodeId, message: Ask, context: Context) -> bool:
        """Tell what was decided, a page at most. Whether some of it is gone here."""
        owner, first, last = message
        rank = context.rank.get(owner)
        if rank is None:
            return False
        settings, executor = context.settings, self.executor
        entries: list[KnownEntry] = []
        size = 0
        known = self._table.by_rank[rank]
        floor, top = self._table.floor[rank], self._table.top[rank]
        for number in range(first, min(last, floor) + 1):
            instance = known.get(number)
            if instance is None or instance.phase != COMMITTED:
                return True  # what comes after it follows when the snapshot is installed
        for number in range(first, min(last, top) + 1):
            instance = known.get(number)
            if instance is None or instance.phase != COMMITTED or not executor.is_committed(rank, number):
                continue
            size += len(instance.value or b"")
            if entries and (size > settings.page_bytes or len(entries) >= settings.page_instances):
                break
            entries.append(known_entry(instance, context))
        if entries:
            context.send(sender, Known(tuple(entries)))
        return False

    def on_gossip(self, sender: NodeId, message: Gossip, context: Context) -> None:
        """Note what another one knows. It is asked for only if it has not come by itself a while later."""
        if context.fits(message.committed) and context.fits(message.floor):
            self.barriers.on_floor(sender, message.floor)
            for rank, number in enumerate(message.committed):
                if number >= self._ahead[rank][0]:
                    # Who spoke last is alive, and is asked.
                    self._ahead[rank] = (number, sender)

    def gossip(self, context: Context, now_s: float) -> None:
        """Say what is known, and ask for what others know for longer."""
        settings = context.settings
        self.gossip_at_s = now_s + settings.gossip_s
        frontier = self.executor.frontier
        last = self.barriers.last
        floor = context.no_op.deps if last is None else last.floor
        context.send_others(Gossip(tuple(frontier), floor))
        for rank, (number, _) in enumerate(self._ahead):
            if number > frontier[rank] == self._before[rank]:
                self._ask(rank, context)
            elif number <= frontier[rank]:
                self._asked.pop(rank, None)
        self._before = list(frontier)
        for (rank, number), (_, said) in self.news.items():
            context.send(said, Ask(context.members[rank], number, number))

    def _ask(self, rank: int, context: Context) -> None:
        number, node = self._ahead[rank]
        first = self.executor.frontier[rank] + 1
        if first <= number:
            self._asked[rank] = (node, first)
            context.send(node, Ask(context.members[rank], first, number))
        else:
            self._asked.pop(rank, None)

    # --- carrying out ------------------------------------------------------------------------------

    def execute(self, context: Context) -> list[Instance]:
        """Hand on what can be carried out, in order, up to the next barrier; what was handed on."""
        if not self._stirred:
            return []
        table, applies, barriers = self._table, context.out.applies, self.barriers
        barriers.move_on()
        done: list[Instance] = []
        is_cut = False
        for component in self.executor.run():
            cut_at: Instance | None = None
            for node in component:
                instance = table.by_rank[node.rank][node.number]
                command = instance.command
                assert command is not None, "what is carried out is known"
                done.append(instance)
                if node.barrier:
                    # One barrier counts in a component, the lowest; they come last in it.
                    if cut_at is not None:
                        barriers.surplus(instance, context)
                        continue
                    cut_at = instance
                applies.append(((context.members[node.rank], node.number), command))
            if len(component) > 1:
                context.event("component", "execute", size=len(component))
            if cut_at is not None:
                cut = barriers.cut(cut_at, self.executor.cut(), context)
                # From now on everything comes after all that is at or below the floor.
                table.index.raise_floor(cut.floor)
                is_cut = True
        # The state at a barrier is what a snapshot holds, so nothing is carried out in one go with it.
        self._stirred = is_cut
        return done

    @property
    def is_stirred(self) -> bool:
        """Whether there may be something to carry out at once."""
        return self._stirred

    def on_installed(self, floor: Deps) -> None:
        """A snapshot with this floor was installed: what it holds is not asked for any more."""
        self.news = {name: said for name, said in self.news.items() if name[1] > floor[name[0]]}
        self._stirred = True

    # --- copies ------------------------------------------------------------------------------------

    def clone(self, table: Table, barriers: Barriers) -> Self:
        """An independent copy, with copies of the table and of the barriers."""
        other = object.__new__(type(self))
        other._table, other.barriers = table, barriers
        other.executor = self.executor.clone()
        other.needed, other.news = self.needed, dict(self.news)
        other.decided = [table.by_rank[each.rank][each.number] for each in self.decided]
        other.gossip_at_s = self.gossip_at_s
        other.announce_at_s = self.announce_at_s
        other._announced, other._ahead = list(self._announced), list(self._ahead)
        other._before, other._asked = list(self._before), dict(self._asked)
        other._stirred = self._stirred
        return other

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for those that behave alike; times left out."""
        return (
            self.executor.fingerprint(),
            tuple(sorted(self.news.items())),
            tuple(self._announced),
            tuple(self._ahead),
            tuple(self._before),
            tuple(sorted(self._asked.items())),
            self._stirred,
        )


def _runs(named: list[tuple[NodeId, int]]) -> list[tuple[NodeId, int, int]]:
    """Instances as runs of consecutive numbers: owner, first, last."""
    runs: list[tuple[NodeId, int, int]] = []
    for owner, number in sorted(named):
        if runs and runs[-1][0] == owner and runs[-1][2] + 1 == number:
            runs[-1] = (owner, runs[-1][1], number)
        else:
            runs.append((owner, number, number))
    return runs
