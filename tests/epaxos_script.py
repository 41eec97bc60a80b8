"""Replicas of EPaxos that are led by hand: messages go where a script says, and nowhere else.

A message stays and may be delivered again. The words are those of the protocol: an instance is pre-accepted
at some members, accepted at some, committed at some; a recovery asks some; two of them say in gossip what
they hold. When the script is done, `settle` has some members finish everything among themselves, and the
rest is dead.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from epaxos import EPaxosReplica, EPaxosSettings, protocol
from epaxos.instances import InstanceId
from epaxos.messages import (
    Accept,
    AcceptOK,
    Commit,
    Gossip,
    Known,
    PreAccept,
    PreAcceptOK,
    Recover,
    RecoverOK,
    Validate,
    ValidateOK,
    Waiting,
)
from paxos.ballot import NodeId
from paxos.command import Footprint
from paxos.contract import ProtocolDescription
from tests.epaxos_net import Net, Sent, Transfer, writes

#: Nothing is repeated and nothing recovered but by the script.
_STILL = EPaxosSettings(
    reserve_numbers=1, repeat_s=60.0, repeat_max_s=600.0, fast_patience_s=60.0, recover_s=600.0,
    recover_max_s=600.0, gossip_s=0.2,
)  # fmt: skip


def about(message: Any) -> tuple[InstanceId, ...]:
    """The instances that a message names; of one between an owner and a replica the number alone."""
    if isinstance(message, (Commit, Known)):
        return tuple(InstanceId(entry[0], entry[1]) for entry in message.entries)
    if hasattr(message, "owner") and hasattr(message, "number"):
        return (InstanceId(message.owner, message.number),)
    return ()


class Script(Net):
    """A cluster that is led by hand.

    Args:
        nodes: how many.
        description: the protocol, or a mutant of it.
        more: as `Net` has it.
    """

    def __init__(self, nodes: int = 3, description: ProtocolDescription = protocol, **more: Any) -> None:
        # Every message there ever was, in the order in which they left.
        self.sent: list[Sent] = []
        self.dead: set[NodeId] = set()
        self.delivered = 0
        self.stopped: dict[NodeId, Exception] = {}
        more.setdefault("settings", _STILL)
        super().__init__(nodes, description=description, **more)
        self.clone_every = 0

    # --- what is sent stays --------------------------------------------------------------------------

    def post(self, sent: Iterable[Sent]) -> None:
        self.sent += sent

    def carry(
        self,
        kind: type,
        inst: InstanceId,
        source: NodeId,
        target: NodeId,
        which: Callable[[Any], bool] = lambda message: True,
    ) -> bool:
        """Deliver the newest such message, if there is one; whether there is."""
        for sent in reversed(self.sent):
            sender, recipient, message = sent
            if (sender, recipient, type(message)) != (source, target, kind) or not which(message):
                continue
            if kind is PreAccept:
                is_it = InstanceId(sender, message.number) == inst
            elif kind is PreAcceptOK:
                is_it = InstanceId(recipient, message.number) == inst
            else:
                is_it = inst in about(message)
            if is_it:
                self.hand_over(sent)
                return True
        return False

    def hand_over(self, sent: Sent) -> None:
        if not self.dead.isdisjoint(sent[:2]):
            return
        self.delivered += 1
        self.deliver(sent, keep=True)

    # --- the words -----------------------------------------------------------------------------------

    def ask(self, node: NodeId, footprint: Footprint | None = None) -> InstanceId:
        """Submit a command, one that writes "k" unless said otherwise, or a marker; its instance."""
        before = self.nodes[node].proposer.next
        self.submit(node, writes(b"k") if footprint is None else footprint)
        assert self.nodes[node].proposer.next == before + 1, "it has no number yet"
        return InstanceId(node, before)

    def bar(self, node: NodeId) -> InstanceId:
        """Submit a marker."""
        before = self.nodes[node].proposer.next
        self.barrier(node)
        return InstanceId(node, before)

    def preaccept(self, inst: InstanceId, *others: NodeId) -> None:
        """The owner's PreAccept goes to these, one after the other, and their answers come back."""
        for other in others:
            self.carry(PreAccept, inst, inst.owner, other)
            self.carry(PreAcceptOK, inst, other, inst.owner)

    def accept(self, inst: InstanceId, source: NodeId, *targets: NodeId) -> None:
        """An Accept goes to these, and their answers come back."""
        for target in targets:
            if target != source:
                self.carry(Accept, inst, source, target)
                self.carry(AcceptOK, inst, target, source)

    def commit(self, inst: InstanceId, source: NodeId, *targets: NodeId) -> None:
        """What was decided is told to these."""
        for target in targets:
            if target != source and not self.carry(Commit, inst, source, target):
                self.carry(Known, inst, source, target)

    def recover(self, inst: InstanceId, source: NodeId, *targets: NodeId) -> None:
        """A recovery, with the answers of these; the recoverer answers itself."""
        rank = self.nodes[source].context.rank[inst.owner]
        self._act(
            "tick",
            source,
            lambda r: r.recoveries.start(rank, inst.number, r.context, self.now_s),
        )
        for target in targets:
            if target != source:
                self.carry(Recover, inst, source, target)
        for target in targets:
            if target != source and not self.carry(RecoverOK, inst, target, source):
                self.carry(Known, inst, target, source)

    def validate(self, inst: InstanceId, source: NodeId, *targets: NodeId) -> None:
        for target in targets:
            if target != source:
                self.carry(Validate, inst, source, target)
        for target in targets:
            if target != source:
                self.carry(ValidateOK, inst, target, source)

    def waiting(self, inst: InstanceId, source: NodeId, *targets: NodeId) -> None:
        for target in targets:
            self.carry(Waiting, inst, source, target)

    def gossip(self, *nodes: NodeId, to: tuple[NodeId, ...] = ()) -> None:
        """These tell each other, or only some of them, how far they are."""
        self.now_s += self.settings.gossip_s
        for node in nodes:
            self.tick(node)
        for source in nodes:
            for target in to or nodes:
                for sent in reversed(self.sent):
                    if sent[:2] == (source, target) and isinstance(sent.message, Gossip):
                        self.hand_over(sent)
                        break

    def snapshot(self, source: NodeId, target: NodeId) -> None:
        """The last snapshot of one is installed at another."""
        kept = self.machines[source].snapshot
        assert kept is not None, "there is none"
        transfer = Transfer(target, *kept)
        if transfer not in self.transfers:
            self.transfers.append(transfer)
        self.install(transfer)

    def late(self, kind: type, inst: InstanceId, source: NodeId, target: NodeId) -> bool:
        """A message that was delivered is delivered once more."""
        return self.carry(kind, inst, source, target)

    def forget(self, node: NodeId) -> None:
        """A node restarts without what its slow disk had not written, and the disk is slow no more."""
        self.crash(node)
        self.slow.discard(node)
        self.start(node)

    def kill(self, *nodes: NodeId) -> None:
        """These are dead for good, and so is what they sent and what is sent to them."""
        for node in nodes:
            self.dead.add(node)
            if node in self.nodes:
                self.crash(node)

    # --- the end -------------------------------------------------------------------------------------

    def settle(self, *alive: NodeId, rounds: int = 12) -> None:
        """The rest is dead; these recover everything that is open, and exchange all messages."""
        self.kill(*(node for node in self.everyone if node not in alive))
        for node in alive:
            if node not in self.nodes:
                self.dead.discard(node)
                self.start(node)
        self.slow.clear()
        for node in alive:
            while self.queues[node]:
                self.sync(node)
        at = 0
        for _ in range(rounds):
            while at < len(self.sent):
                self.hand_over(self.sent[at])
                at += 1
                for transfer in list(self.transfers):
                    self.install(transfer)
            if not self.open_at(alive):
                break
            for node in alive:
                for inst in self.open_at([node]):
                    self.recover(inst, node)
            self.gossip(*alive)
        self.stand_alike(alive)

    def open_at(self, nodes: Iterable[NodeId]) -> list[InstanceId]:
        """What somebody has heard of, and one of these does not know to be decided."""
        members = self.quorums.members
        tops = [
            max(max(r.table.top[rank], r.learner.needed[rank]) for r in self.nodes.values())
            for rank in range(len(members))
        ]
        return [
            InstanceId(members[rank], number)
            for rank, top in enumerate(tops)
            for number in range(1, top + 1)
            if any(not self.nodes[node].learner.executor.is_committed(rank, number) for node in nodes)
        ]

    def stand_alike(self, alive: Iterable[NodeId]) -> None:
        """Everything is decided and carried out, and the states are the same."""
        alive = [node for node in alive if node not in self.stopped]
        if len(self.states(alive)) > 1:
            self._say("StateExact", "after everything was exchanged the states differ")
        for node in alive:
            executor = self.nodes[node].learner.executor
            if executor.pending or self.open_at([node]):
                self._say("Liveness", f"node {node}: {executor.pending} pending, {self.open_at([node])} open")

    def _act(
        self, action: str, node: NodeId, call: Callable[[EPaxosReplica], None], *more: Any, **named: Any
    ) -> None:
        if node in self.stopped:
            return
        try:
            super()._act(action, node, call, *more, **named)
        except Exception as error:  # a replica that finds that something broke stops
            self.stopped[node] = error
            self._say(str(error).partition(":")[0], f"node {node}: {error}")


class Played(NamedTuple):
    """A schedule, and the cluster it is for.

    Args:
        play: what is done.
        nodes: how many members.
        observers: ids of observers.
        quorums: f and e; None for the usual ones.
    """

    play: Callable[[Script], None]
    nodes: int = 3
    observers: tuple[int, ...] = ()
    quorums: tuple[int, int] | None = None
