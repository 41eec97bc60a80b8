"""The mistakes that are planted in Fast Paxos, each as small as it was when somebody made it.

See `tests.mutants.patches` for what a patch is. First what may be chosen and by whom, then what is picked,
then recovery, then what is durable.
"""

from typing import Any, Final

from fastpaxos import FastPaxosSettings
from paxos.check.walk import Walk
from paxos.quorum import WeightedQuorums
from tests.mutants.patches import Ground, Mutant, Patch

__all__ = ["FASTPAXOS"]

#: What clients and nodes see when decisions differ.
_AGREE: Final = ("Agreement", "Stability", "ReadFresh", "VotesOnce", "PromiseMonotone", "Linearizability")
_SAFE: Final = ("PickRule", "VotesSafe", "PickUnique", *_AGREE)
_COUNTED: Final = ("VotesOnce", "FastChosen", "LearnerSound", *_AGREE)

_WALK: Final = Walk(moves=150, operations=4, tick=0.05, crash=0.02, restart=0.05)
#: One member outweighs the others, so that few votes may be worth more than many.
_HEAVY: Final = WeightedQuorums({1: 3, 2: 1, 3: 1, 4: 1, 5: 1}, 5, 5, 5)


def _ground(nodes: int = 3, quorums: Any = None, walk: Walk = _WALK, **settings: Any) -> Ground:
    return Ground(
        walk,
        nodes,
        quorums,
        FastPaxosSettings(**{"collisions_before_classic": 0, "reserve_rounds": 4, **settings}),
        eager=True,
    )


def _mutant(name: str, sentence: str, oracles: tuple[str, ...], *patches: Patch, **more: Any) -> Mutant:
    return Mutant(name, sentence, oracles, patches, protocol="fastpaxos", **more)


#: Fast Paxos, rule by rule.
FASTPAXOS: Final = (
    # --- what is chosen, and by whose votes ------------------------------------------------------------
    _mutant(
        "fast_half_is_a_quorum",
        "Half of the members are a quorum of any kind: some have nobody in common.",
        ("QuorumsIntersect",),
        half=True,
    ),
    _mutant(
        "majority_is_a_fast_quorum",
        "At a fast ballot a majority's votes are counted as enough.",
        _COUNTED,
        Patch("learner", "phase = _FAST if fast else _TWO", "phase = _TWO"),
    ),
    _mutant(
        "votes_added_over_rounds",
        "Votes for a value at different ballots add up.",
        _COUNTED,
        Patch(
            "learner",
            "        if not self._quorums.is_quorum(votes.keys(), phase):\n",
            "        cast = [item for each in self._votes.values() for item in each.items()]\n"
            "        if not self._quorums.is_quorum({node for node, of in cast if of == value}, phase):\n",
        ),
        Patch("learner", "        if fast and not self._quorums", "        if False and not self._quorums"),
    ),
    _mutant(
        "votes_for_several_values",
        "At a fast ballot votes are counted whatever value they are for.",
        _COUNTED,
        Patch("learner", "if each == value], phase):", "], phase):"),
    ),
    # --- how votes are cast ----------------------------------------------------------------------------
    _mutant(
        "second_vote_in_a_fast_round",
        "An acceptor votes for the last proposal it sees at a fast ballot, and not for the first.",
        ("OneVotePerRound", "DurableBeforeSend"),
        Patch(
            "acceptor",
            "            assert self.accepted_value is not None\n",
            "            self.accepted_value = message.value\n",
        ),
    ),
    _mutant(
        "asked_value_answered",
        "An acceptor asked again at a fast ballot answers with the value asked for, and not with its vote.",
        ("OneVotePerRound", "DurableBeforeSend"),
        Patch(
            "acceptor",
            "(decree, ballot, self.accepted_value))\n        return super().on_accept",
            "message)\n        return super().on_accept",
        ),
    ),
    _mutant(
        "vote_in_a_ballot_not_open",
        "A proposal is voted for at whatever fast ballot the acceptor joined, opened or not.",
        ("AnyOnlyIfFree", "PickRule", "OneValuePerBallot"),
        Patch(
            "acceptor",
            "        ballot = self.opened\n        if ballot < self.promised:\n",
            "        ballot = max(self.opened, self.promised)\n        if not self.rounds.is_fast(ballot):\n",
        ),
        ground=_ground(reopen=True, patience_s=0.05),
    ),
    _mutant(
        "any_though_constrained",
        "A coordinator opens its fast ballot although votes were reported to it.",
        ("AnyOnlyIfFree",),
        Patch(
            "coordinator",
            "        if picked.freedom is not Freedom.FREE:\n",
            "        if picked.freedom is not Freedom.FREE and not self.rounds.is_fast(ballot):\n",
        ),
        ground=_ground(reopen=True, patience_s=0.05),
    ),
    # --- what is picked --------------------------------------------------------------------------------
    _mutant(
        "most_frequent_pick",
        "Of several values voted for at a fast ballot the most frequent is picked.",
        _SAFE,
        Patch(
            "choosing",
            "bound = [value for value, nodes in voters.items() if choosable(nodes, asked, quorums)]\n",
            "bound = [max(voters, key=lambda value: len(voters[value]))]\n",
        ),
        ground=_ground(5, _HEAVY, Walk(moves=150, operations=5, tick=0.1, drop=0.1), patience_s=0.05),
    ),
    _mutant(
        "outsiders_forgotten",
        "Whether a value may have been chosen is judged as if who was not asked had voted for nothing.",
        _SAFE,
        Patch("choosing", "is_quorum({*voters, *others}, _FAST)", "is_quorum(voters, _FAST)"),
        Patch("choosing", "    others = [node for node in quorums.members if node not in known]\n", ""),
        ground=_ground(5, None, Walk(moves=200, operations=5, tick=0.1, drop=0.05), patience_s=0.05),
    ),
    _mutant(
        "lone_value_not_binding",
        "A single value that no fast quorum can have voted for is taken for no obstacle, though it bound its "
        "fast ballot: the coordinator proposes its own.",
        _SAFE,
        Patch(
            "choosing",
            "    if rounds.is_fast(highest) and len(voters) > 1:\n",
            "    if rounds.is_fast(highest):\n",
        ),
        Patch(
            "coordinator",
            "            self.proposed = picked.value\n",
            "            own = self.value if picked.freedom is Freedom.OPEN else None\n"
            "            self.proposed = picked.value if own is None else own\n",
        ),
        ground=_ground(
            4,
            None,
            Walk(moves=250, operations=5, tick=0.15, drop=0.05),
            recovery="uncoordinated",
            patience_s=0.05,
        ),
    ),
    _mutant(
        "lowest_ballot_binds",
        "The value of the lowest ballot reported is picked.",
        _SAFE,
        Patch(
            "choosing",
            "    highest = max(reports[node][0] for node in asked)\n",
            "    voted = [reports[node][0] for node in asked if reports[node][0][0] >= 0]\n"
            "    highest = min(voted, default=BOTTOM)\n",
        ),
        ballots=3,
        ground=_ground(5, None, Walk(moves=250, operations=5, tick=0.15, drop=0.05), patience_s=0.05),
    ),
    _mutant(
        "pick_from_too_few",
        "A value is picked from any answers, be they a phase-1 quorum's or not.",
        ("VotesOnce", "PickRule", "VotesSafe", *_AGREE),
        Patch(
            "choosing",
            "    if not quorums.is_quorum(reports.keys(), _ONE):\n        return None\n",
            "",
        ),
    ),
    # --- recovery --------------------------------------------------------------------------------------
    _mutant(
        "recovery_at_the_next_round",
        "Old votes stand for promises of a ballot of the next round, and others' ballots lie between.",
        ("PickRule", "VotesSafe", "VotesOnce", "BallotOwnership", *_AGREE),
        Patch(
            "replica",
            "        following = self._rounds.successor(ballot)\n",
            "        following = self._rounds.successor(ballot)\n"
            "        following = following and self._rounds.classic(ballot.round + 1, ballot.node)\n",
        ),
    ),
    _mutant(
        "acceptors_pick_their_own",
        "In uncoordinated recovery each acceptor takes its own vote along, and not what the rule says.",
        ("PickRule", "VotesSafe"),
        Patch(
            "replica",
            "            reply = acceptor.on_accept(_new(Accept, (decree, following, value)))\n",
            "            value = acceptor.accepted_value or value\n"
            "            reply = acceptor.on_accept(_new(Accept, (decree, following, value)))\n",
        ),
        ground=_ground(
            5,
            None,
            Walk(moves=250, operations=5, tick=0.2, drop=0.1),
            recovery="uncoordinated",
            patience_s=0.02,
        ),
    ),
    # --- what is durable -------------------------------------------------------------------------------
    _mutant(
        "accept_before_own_vote",
        "A coordinator's Accept leaves before its own vote is on disk, so that after a restart it may "
        "propose another value at the same ballot.",
        ("DurableBeforeSend",),
        Patch(
            "replica",
            "        else:\n            self._on_accept(self._node, question, now)\n        if self._open",
            "        else:\n            self._on_accept(self._node, question, now)\n"
            "            self._context.send_members(question)\n        if self._open",
        ),
    ),
    _mutant(
        "fast_ballot_reused",
        "After a restart a node begins again with the rounds that it used before.",
        ("BallotOwnership", "OneValuePerBallot", *_AGREE),
        Patch(
            "desk",
            "        self._floor = Ballot(found.reserved, context.members[-1] + 1)\n",
            "        self._floor = Ballot(0, context.members[-1] + 1)\n",
        ),
    ),
    _mutant(
        "fast_vote_before_durable",
        "A vote leaves before it is on disk.",
        ("DurableBeforeSend",),
        early=("Accepted",),
    ),
    _mutant(
        "fast_vote_not_written",
        "A vote never gets to the disk, and so is cast again after a restart.",
        ("DurableBeforeSend",),
        Patch(
            "replica",
            "(decree), pack_acceptor(acceptor.record()))\n        for member",
            "(decree), None)\n        for member",
        ),
    ),
)
