"""The mistakes that are planted in the log of Fast Paxos, each as small as it was when somebody made it.

See `tests.mutants.patches` for what a patch is. First what acceptors promise and vote, then phase 1 and what
follows from it, recovery of a slot, placing, reads, and what is durable.
"""

from typing import Any, Final

from fastpaxos.log import FastLogSettings
from paxos.check.walk import Walk
from tests.mutants.patches import Ground, Mutant, Patch

__all__ = ["FASTPAXOS_LOG"]

#: What shows when two nodes hold different logs.
_AGREE: Final = (
    "Agreement",
    "SlotAgreement",
    "Stability",
    "AppliedPrefix",
    "LearnerSound",
    "OneVotePerRound",
)
#: What shows when a value is proposed that might not be the one chosen.
_PICK: Final = ("PickRule", "VotesSafe", "PickUnique", *_AGREE)
#: What shows when something is read that was overwritten before.
_FRESH: Final = ("ReadFresh", "Linearizability")

#: Coordinators that change in the midst of many requests.
_BUSY: Final = Walk(
    moves=500, operations=12, submit=0.15, tick=0.06, crash=0.02, restart=0.1, disorder=0.5, settle=False
)
#: The same, and every other request is a read.
_READING: Final = Walk(
    moves=600, operations=16, reads=0.6, submit=0.1, tick=0.08, crash=0.01, restart=0.1, disorder=0.6,
    drop=0.02, settle=False,
)  # fmt: skip


def _ground(walk: Walk = _BUSY, nodes: int = 3, **settings: Any) -> Ground:
    given = {"reserve_rounds": 4, "recover_s": 0.05, "quiet_s": 0.1, "hint_slots": 2, **settings}
    return Ground(walk, nodes, None, FastLogSettings(**given))


def _mutant(name: str, sentence: str, oracles: tuple[str, ...], *patches: Patch, **more: Any) -> Mutant:
    ground = more.pop("ground", _ground())
    return Mutant(name, sentence, oracles, patches, protocol="fastpaxos-log", ground=ground, **more)


#: The log of Fast Paxos, rule by rule.
FASTPAXOS_LOG: Final = (
    # --- what acceptors promise, and vote --------------------------------------------------------------
    _mutant(
        "fastlog_floor_not_raised",
        "Phase 1 is answered, and the promise for all slots stays where it was.",
        ("PromiseMonotone", "DurableBeforeSend", "VoteAtMostPromise", *_PICK),
        Patch("acceptor", "        self.join(ballot)\n        if self.voted", "        if self.voted"),
        Patch("campaign", "        if self._acceptor.join(ballot):\n", "        if False:\n"),
    ),
    _mutant(
        "fastlog_slot_promise_forgotten",
        "A promise for one slot is answered, and not kept: a fast vote there is cast afterwards.",
        ("PromiseMonotone", "DurableBeforeSend", "VoteAtMostPromise", *_PICK),
        Patch("acceptor", "        vote.promised = ballot\n", ""),
    ),
    _mutant(
        "fastlog_slot_promise_not_written",
        "A promise for one slot is lost in a crash.",
        ("DurableBeforeSend",),
        Patch(
            "replica",
            "            write_slot(context, acceptor, slot)\n        if answer is not None:",
            "            pass\n        if answer is not None:",
        ),
    ),
    _mutant(
        "fastlog_vote_not_written",
        "A vote never gets to the disk.",
        ("DurableBeforeSend",),
        Patch("votes", "    write_slot(context, acceptor, slot)\n    voted", "    voted"),
    ),
    _mutant(
        "fastlog_vote_before_durable",
        "A vote leaves before it is on disk.",
        ("DurableBeforeSend",),
        early=("Voted",),
    ),
    _mutant(
        "fastlog_second_vote",
        "At a fast ballot an acceptor votes for whatever comes last.",
        ("OneVotePerRound", *_PICK),
        Patch(
            "acceptor",
            "                return False\n        if ballot < self.floor:",
            "                vote.accepted_ballot = BOTTOM\n        if ballot < self.floor:",
        ),
    ),
    _mutant(
        "fastlog_one_promise_for_all_slots",
        "A vote in one slot raises the promise for all: a collision ends the fast ballot of every slot.",
        ("Liveness", "PromiseMonotone", "DurableBeforeSend"),
        Patch(
            "acceptor",
            "        self.voted = max(self.voted, ballot)\n        if ballot > self.joined:",
            "        self.voted = self.floor = max(self.voted, ballot)\n        if ballot > self.joined:",
        ),
        directed="a_slot_beside_a_collision",
        ground=None,
    ),
    # --- phase 1 ---------------------------------------------------------------------------------------
    _mutant(
        "fastlog_any_for_reported_slots",
        "A fast ballot is opened in slots that phase 1 reported.",
        ("AnyOnlyIfFree",),
        Patch("candidate", "return self.floor + len(self.values) + 1", "return self.floor + 1"),
    ),
    _mutant(
        "fastlog_gap_left",
        "A slot that nobody reported is left out, and what is above moves down.",
        _PICK,
        Patch(
            "candidate",
            "                values.append(NOP_VALUE)\n                gaps += 1\n",
            "                gaps += 1\n",
        ),
    ),
    _mutant(
        "fastlog_promise_of_one_page",
        "A promise counts after its first page.",
        ("AnyOnlyIfFree", *_PICK),
        Patch("candidate", "        if message.following:\n", "        if False:\n"),
        ground=_ground(page_slots=1),
    ),
    # --- recovery of a slot ------------------------------------------------------------------------------
    _mutant(
        "fastlog_recovery_with_a_no_op",
        "A slot that is not decided in time is given up, whatever was voted for there.",
        _PICK,
        Patch(
            "coordinator",
            "        value = NOP_VALUE if picked.value is None else picked.value\n",
            "        value = NOP_VALUE\n",
        ),
    ),
    _mutant(
        "fastlog_recovery_picks_again",
        "A recovery that was begun is begun again, with what is known then.",
        ("OneValuePerBallot", *_PICK),
        Patch(
            "coordinator",
            "        if flight is not None and flight.ballot >= ballot:\n            return\n",
            "",
        ),
        Patch(
            "coordinator",
            "            if now_s < flight.repeat_at_s:\n                return False\n"
            "            self._repeat(slot, flight, now_s)\n",
            "            self._propose(flight.ballot, slot, NOP_VALUE, now_s)\n",
        ),
    ),
    _mutant(
        "fastlog_round_coordinated_again",
        "The first member coordinates round 0 in every one of its lives.",
        ("BallotOwnership", "OneValuePerBallot", *_PICK),
        Patch("replica", "self._is_first = not records and context", "self._is_first = context"),
    ),
    _mutant(
        "fastlog_lack_waited_for",
        "A coordinator waits for ever for what phase 1 said is chosen, though who has it is dead.",
        ("Liveness",),
        Patch("coordinator", "        if now_s >= self._lack[0]:\n", "        if False:\n"),
        directed="what_only_a_dead_node_compacted",
        ground=None,
    ),
    # --- placing, and reads --------------------------------------------------------------------------------
    _mutant(
        "fastlog_loser_not_placed_again",
        "A command that lost its slot is not placed again.",
        ("Liveness",),
        Patch("proposer", "            self._queue(lost)\n", ""),
        directed="who_loses_a_slot",
        ground=None,
    ),
    _mutant(
        "fastlog_slot_not_recovered",
        "A slot that is not decided in time is left as it is.",
        ("Liveness",),
        Patch("coordinator", "            left -= self._see_to(slot, now_s)\n", "            left -= 1\n"),
        directed="a_gap_below_a_command",
        ground=None,
    ),
    _mutant(
        "fastlog_read_of_what_is_committed",
        "A read is told up to where a quorum committed, and not in which slots it voted.",
        _FRESH,
        Patch(
            "replica",
            "ReadAt(message.life, message.number, self._highest)",
            "ReadAt(message.life, message.number, self._learner.committed)",
        ),
        directed="a_read_after_an_answer",
        ground=None,
    ),
    _mutant(
        "fastlog_read_of_one",
        "A read is answered by what one node says.",
        _FRESH,
        Patch(
            "reads",
            "        if not context.quorums.is_quorum(self._answers.keys(), Phase.ONE):\n",
            "        if False:\n",
        ),
        ground=_ground(_READING),
    ),
)
