"""The mistakes that are planted, each as small as it was when somebody made it.

A patch names a module of the protocol, words that stand in it exactly once, and the words to put there.  Code
that changes so that the words are gone makes the patch fail loudly: a mutant is never silently the sound
protocol.  Nothing here is in the product; there is no switch.

`oracles` are the checks that may find the mutant: names of invariants, of the properties that runs are judged
by at their end, or of the errors a node stops with.  `budget` is how many schedules the explorer is given.
"""

from typing import Any, Final, NamedTuple

from paxos.check.walk import Walk
from paxos.quorum import QuorumSystem
from paxos.service import LogSettings

__all__ = ["BASIC", "Ground", "Mutant", "Patch"]


class Patch(NamedTuple):
    """Words of one module, and what stands there instead."""

    module: str
    old: str
    new: str


class Ground(NamedTuple):
    """Where to look for a mistake: the cluster, and how it is walked on.

    Args:
        walk: what a walk does.
        nodes: how many.
        quorums: the quorum system; None for the protocol's own.
        settings: of the protocol.
        log: of the service of a log.
        eager: disks sync at once.
    """

    walk: Walk = Walk()
    nodes: int = 3
    quorums: QuorumSystem | None = None
    settings: Any = None
    log: LogSettings | None = None
    eager: bool = False


class Mutant(NamedTuple):
    """A protocol, or the service above it, with one mistake in it.

    Args:
        name: an identifier.
        sentence: what is wrong with it.
        oracles: what may find it.
        patches: the mistake.
        early: message types that wrongly do not wait for the disk.
        half: half of the members are a quorum: one too few.
        ballots: how many ballots it takes to show.
        budget: schedules the explorer is given.
        script: a schedule that shows it, where no random search finds one in minutes.
        protocol: of which it is a mutant.
        ground: the walks that are tried instead of the explorer's schedules, where the mistake needs a
            setting, or work, that the explorer seldom draws.
        directed: the function of `tests.mutants.directed` that shows it, where the simulator has no such
            node or client.
    """

    name: str
    sentence: str
    oracles: tuple[str, ...]
    patches: tuple[Patch, ...] = ()
    early: tuple[str, ...] = ()
    half: bool = False
    ballots: int = 2
    budget: int = 20_000
    script: tuple[str, ...] = ()
    protocol: str = "paxos"
    ground: Ground | None = None
    directed: str = ""


#: What clients and nodes see when decisions differ.
_AGREE: Final = ("Agreement", "Stability", "ReadFresh", "VotesOnce", "PromiseMonotone", "Linearizability")

#: Basic Paxos: section by section what a reader of the paper gets wrong, and what a driver does.
BASIC: Final = (
    Mutant(
        "promise_before_durable",
        "A promise leaves before it is on disk.",
        ("DurableBeforeSend",),
        early=("Promise",),
    ),
    Mutant(
        "vote_before_durable",
        "A vote leaves before it is on disk.",
        ("DurableBeforeSend",),
        early=("Accepted",),
    ),
    Mutant(
        "promise_not_written",
        "A promise never gets to the disk, and so is forgotten over a restart.",
        ("DurableBeforeSend", "PromiseMonotone"),
        (Patch("replica", "        if acceptor.promised != before:\n", "        if False:\n"),),
    ),
    Mutant(
        "vote_not_written",
        "A vote never gets to the disk, and so is forgotten over a restart.",
        ("DurableBeforeSend", "PromiseMonotone", *_AGREE),
        (Patch("replica", "        if acceptor.accepted_ballot != before:\n", "        if False:\n"),),
    ),
    Mutant(
        "own_vote_before_durable",
        "A proposer counts its own vote before its disk has it.",
        ("LearnerSound", "DurableBeforeSend", *_AGREE),
        (
            Patch(
                "replica",
                "            self._on_accept(self._node, question, now)\n",
                "            self._on_accept(self._node, question, now)\n"
                "            _, own = self._out.sends.pop()\n"
                "            self._handlers[type(own)](self._node, own, now)\n",
            ),
        ),
    ),
    Mutant(
        "decision_not_written",
        "A decision replaces the vote on the disk, and never gets there itself.",
        ("Stability", "PromiseMonotone", "DurableBeforeSend", *_AGREE),
        (
            Patch(
                "replica",
                "        out.writes.append((chosen_key(decree), pack_chosen(ballot, value)))\n",
                "",
            ),
        ),
    ),
    Mutant(
        "promise_does_not_raise",
        "A promise does not raise what was promised.",
        (
            "VoteAtMostPromise",
            "PromiseTruthful",
            "PromiseMonotone",
            "VotesSafe",
            "DurableBeforeSend",
            *_AGREE,
        ),
        (
            Patch(
                "acceptor",
                "            self.promised = ballot\n        elif ballot != promised:\n",
                "            pass\n        elif ballot != promised:\n",
            ),
        ),
    ),
    Mutant(
        "vote_does_not_raise",
        "A vote does not raise what was promised.",
        ("VoteAtMostPromise", "PromiseMonotone"),
        (
            Patch(
                "acceptor",
                "        self.promised = ballot\n        return _new(Accepted, (decree, ballot, value))\n",
                "        return _new(Accepted, (decree, ballot, value))\n",
            ),
        ),
    ),
    Mutant(
        "vote_below_promise",
        "An accept below the promise is voted for.",
        ("PromiseMonotone", "PromiseTruthful", "VotesSafe", "VoteAtMostPromise", *_AGREE),
        (
            Patch(
                "acceptor",
                "        if ballot < promised:\n",
                "        if ballot < self.accepted_ballot:\n",
            ),
        ),
    ),
    Mutant(
        "promise_hides_vote",
        "A promise does not report the vote.",
        ("PromiseTruthful", "AcceptSafe", "VotesSafe", *_AGREE),
        (
            Patch(
                "acceptor",
                "        return _new(Promise, (decree, ballot, self.accepted_ballot, self.accepted_value))\n",
                "        return _new(Promise, (decree, ballot, BOTTOM, None))\n",
            ),
        ),
    ),
    Mutant(
        "own_value_proposed",
        "A proposer proposes its own value although the promises held one.",
        ("AcceptSafe", "VotesSafe", *_AGREE),
        (Patch("proposer", "        if accepted_ballot > self._best:\n", "        if False:\n"),),
    ),
    Mutant(
        "lowest_vote_binds",
        "A proposer takes the value of the lowest ballot that the promises held.",
        ("AcceptSafe", "VotesSafe", *_AGREE),
        (
            Patch(
                "proposer",
                "        if accepted_ballot > self._best:\n",
                "        if accepted_ballot > BOTTOM and not BOTTOM < self._best < accepted_ballot:\n",
            ),
        ),
        ballots=3,
        budget=60_000,
    ),
    Mutant(
        "last_promise_binds",
        "A proposer takes the value of the promise that came last.",
        ("AcceptSafe", "VotesSafe", *_AGREE),
        (
            Patch(
                "proposer",
                "        if accepted_ballot > self._best:\n",
                "        if accepted_ballot > BOTTOM:\n",
            ),
        ),
        ballots=3,
        script=(
            '1 submits decide "d" = "a"',
            "sync 1",
            '1 -> 3 Prepare "d"',
            "sync 3",
            '3 -> 1 Promise "d"',
            "sync 1",
            '2 submits decide "d" = "b"',
            "sync 2",
            '2 -> 3 Prepare "d"',
            "sync 3",
            '3 -> 2 Promise "d"',
            "sync 2",
            '1 -> 3 Accept "d"',
            '3 -> 1 Nack "d"',
            "tick 1",
            'drop 1 -> 2 Prepare "d"',
            '1 -> 2 Prepare "d"',
            "sync 2",
            '2 -> 1 Promise "d"',
            "sync 1",
        ),
    ),
    Mutant(
        "accept_before_quorum",
        "A proposer sends its accept after the first promise.",
        ("AcceptSafe", "VotesSafe", *_AGREE),
        (
            Patch(
                "proposer",
                "        if not self.quorums.is_quorum(promises, _PHASE_1):\n",
                "        if not promises:\n",
            ),
        ),
    ),
    Mutant(
        "late_promise_counts",
        "A promise for an older ballot of the same proposer counts for the new one.",
        ("AcceptSafe", "VotesSafe", *_AGREE),
        (
            Patch(
                "proposer",
                "            ballot != self.ballot\n            or self.state",
                "            ballot.node != self.ballot.node\n            or self.state",
            ),
            Patch(
                "proposer",
                "        return _new(Accept, (self.decree, ballot, self.proposed))\n",
                "        return _new(Accept, (self.decree, self.ballot, self.proposed))\n",
            ),
        ),
        ballots=3,
        budget=60_000,
    ),
    Mutant(
        "nack_counts",
        "A refusal counts as a promise that reports no vote.",
        ("AcceptSafe", "VotesSafe", *_AGREE),
        (
            Patch(
                "replica",
                "        proposer.on_nack(message)\n",
                "        proposer._promises.add(sender)\n        proposer.on_nack(message)\n",
            ),
            Patch(
                "proposer",
                "        if ballot == self.ballot and promised > ballot and self.state",
                "        if ballot == self.ballot and promised < ballot and self.state",
            ),
        ),
    ),
    Mutant(
        "invented_value",
        "A proposer improves on the value it was given.",
        ("Validity", "AcceptSafe"),
        (
            Patch(
                "proposer",
                "            self.proposed = self.value\n",
                "            self.proposed = self.value + b'!'\n",
            ),
        ),
    ),
    Mutant(
        "ballot_reused",
        "A ballot leaves before the disk knows that its round is used, and is used again after a restart.",
        ("BallotOwnership", "OneValuePerBallot", "DurableBeforeSend", *_AGREE),
        (
            Patch(
                "replica",
                "        if question.ballot.round > self._durable:\n            self._reserve(",
                "        if question.ballot.round > self._reserved:\n            self._reserve(",
            ),
        ),
    ),
    Mutant(
        "floor_forgotten",
        "A node begins at round 1 again after a restart, whatever it had used.",
        ("BallotOwnership", "OneValuePerBallot", *_AGREE),
        (
            Patch("replica", "decree=decree, floor=self._floor)", "decree=decree)"),
            Patch("replica", "proposer.prepare(state.acceptor.promised)", "proposer.prepare()"),
        ),
    ),
    Mutant(
        "votes_across_ballots",
        "A learner adds up votes of different ballots.",
        ("LearnerSound", *_AGREE),
        (
            Patch(
                "learner",
                "        tally = self._tallies.get(ballot)\n",
                "        tally = next((each for each in self._tallies.values() if each[0] == value), None)\n",
            ),
        ),
        ballots=3,
        budget=60_000,
    ),
    Mutant(
        "vote_counted_twice",
        "A vote that arrives twice counts twice.",
        ("LearnerSound", "VotesOnce", *_AGREE),
        (
            Patch(
                "learner",
                "        if sender in voters:\n            return None\n        voters.add(sender)\n",
                "        if sender in voters:\n"
                "            sender = next(each for each in self.quorums.members if each not in voters)\n"
                "        voters.add(sender)\n",
            ),
        ),
    ),
    Mutant(
        "first_vote_decides",
        "A learner takes the first vote for a decision.",
        ("LearnerSound", *_AGREE),
        (
            Patch(
                "learner",
                "        if not self.quorums.is_quorum(voters, _PHASE_2):\n",
                "        if not voters:\n",
            ),
        ),
    ),
    Mutant(
        "half_is_a_quorum",
        "Half of the members are a quorum: one too few.",
        ("AcceptSafe", "VotesSafe", "Agreement", "LearnerSound", *_AGREE),
        half=True,
    ),
    Mutant(
        "read_of_one_acceptor",
        "A read takes the first vote it hears of for the decision.",
        ("LearnerSound", *_AGREE),
        (
            Patch(
                "replica",
                "        question = proposer.on_promise(sender, message)\n",
                "        if proposer.value is None and message.accepted_value is not None:\n"
                "            self._learn(message.decree, message.accepted_ballot, message.accepted_value)\n"
                "            return\n"
                "        question = proposer.on_promise(sender, message)\n",
            ),
        ),
    ),
    Mutant(
        "stale_read",
        "A read is answered by a phase 1 that began before it was asked.",
        ("ReadFresh", "Linearizability"),
        (
            Patch(
                "replica",
                "        state.requests[request] = None if value is not None else state.attempt + 1\n",
                "        state.requests[request] = None if value is not None else 0\n",
            ),
        ),
        script=(
            '1 submits decided "d"',
            '1 -> 2 Prepare "d"',
            '3 submits decide "d" = "a"',
            '3 -> 2 Prepare "d"',
            '2 -> 3 Promise "d"',
            '3 -> 2 Accept "d"',
            '2 -> 3 Accepted "d"',
            '1 submits decided "d"',
            '2 -> 1 Promise "d"',
        ),
    ),
    Mutant(
        "names_mixed",
        "A question about a decided decree is answered with what another one was decided as.",
        ("Validity", "LearnerSound", *_AGREE),
        (
            Patch(
                "replica",
                "        chosen = self._chosen.get(decree)\n",
                "        chosen = next(iter(self._chosen.values()), None)\n",
            ),
        ),
    ),
    Mutant(
        "asks_only_once",
        "A question that was lost is never repeated.",
        ("Liveness",),
        (
            Patch(
                "replica",
                "        self._out.sends.extend((member, question) for member in self._others)\n",
                "",
            ),
        ),
    ),
)
