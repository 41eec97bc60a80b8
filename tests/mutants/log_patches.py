"""The mistakes that are planted in Multi-Paxos, each as small as it was when somebody made it.

See `tests.mutants.patches` for what a patch is. The order is that of a slot's life: the acceptor, phase 1,
what a new leader owes, counting, commit indexes, reads, leases, snapshots, ballots.
"""

from typing import Final

import attrs

from multipaxos import MultiPaxosSettings
from paxos.check.walk import Walk
from paxos.quorum import ExplicitQuorums
from paxos.service import LogSettings
from tests.mutants.log_scripts import SCRIPTS
from tests.mutants.patches import Ground, Mutant, Patch

__all__ = ["MULTIPAXOS"]

#: What shows when two nodes hold different logs.
_AGREE: Final = (
    "Agreement",
    "SlotAgreement",
    "Stability",
    "CommitAtBallot",
    "AppliedPrefix",
    "LeaderCompleteness",
)
#: What shows when a value is proposed that might not be the one chosen.
_PICK: Final = ("AcceptSafe", *_AGREE)
#: What shows when something is read that was overwritten before.
_FRESH: Final = ("ReadFresh", "Linearizability")

#: Elections in the midst of many requests: what leaders leave half done is found by the next.
_BUSY: Final = Walk(
    moves=500, operations=12, submit=0.15, tick=0.06, crash=0.02, restart=0.1, disorder=0.5, settle=False
)
#: The same, and every other request is a read.
_READING: Final = Walk(
    moves=600, operations=16, reads=0.6, submit=0.1, tick=0.08, crash=0.01, restart=0.1, disorder=0.6,
    drop=0.02, settle=False,
)  # fmt: skip
#: A window of one slot, so that a new leader owes more than it may propose.
_NARROW: Final = MultiPaxosSettings(window=2)
#: A promise has a page for each slot.
_PAGED: Final = MultiPaxosSettings(page_slots=1)
#: A marker, and so a snapshot, after every other request.
_SNAPSHOTS: Final = LogSettings(marker_requests=2, piece_s=0.0)


def _mutant(name: str, sentence: str, oracles: tuple[str, ...], *patches: Patch, **more: object) -> Mutant:
    return Mutant(name, sentence, oracles, patches, protocol="multipaxos", **more)  # type: ignore[arg-type]


#: Multi-Paxos, rule by rule. Not among them is a phase-1 quorum that confirms a read: it is no mistake, since
#: it meets the phase-2 quorum that voted for whatever was acknowledged before.
MULTIPAXOS: Final = (
    _mutant(
        "log_promise_before_durable",
        "A promise leaves before it is on disk.",
        ("DurableBeforeSend", "PromiseMonotone"),
        early=("Promise",),
    ),
    _mutant(
        "log_vote_before_durable",
        "Votes leave before they are on disk.",
        ("DurableBeforeSend", "PromiseMonotone"),
        early=("Accepted",),
    ),
    _mutant(
        "log_promise_not_written",
        "A promise never gets to the disk, and so is forgotten over a restart.",
        ("DurableBeforeSend", "PromiseMonotone"),
        Patch("replica", "        self._context.write(PROMISE_KEY, pack_promise(ballot))\n", ""),
    ),
    _mutant(
        "log_vote_not_written",
        "A follower's vote never gets to the disk, and so is forgotten over a restart.",
        ("DurableBeforeSend", "PromiseMonotone", *_AGREE),
        Patch("replica", "        if is_new:\n", "        if False:\n"),
    ),
    _mutant(
        "log_own_vote_before_durable",
        "A leader counts its own votes before its disk has them.",
        ("VotesOnce", "DurableBeforeSend", *_AGREE),
        Patch(
            "replica",
            "            answers = acceptor.answers()\n",
            "            answers = acceptor.answers()\n"
            "            mine = office.leader.ballot if office else None\n"
            "            for one in [each for each in answers if each[0] == mine]:\n"
            "                answers.remove(one)\n"
            "                office.on_accepted(context.node, one, self._now_s)\n",
        ),
    ),
    _mutant(
        "log_vote_below_promise",
        "An accept below the promise is voted for.",
        ("PromiseMonotone", "PromiseTruthful", "VoteAtMostPromise", *_PICK),
        Patch(
            "replica",
            "            if ballot < promised:\n                if self._context.is_member:\n",
            "            if ballot < self._acceptor.voted:\n                if self._context.is_member:\n",
        ),
        Patch(
            "acceptor",
            "        if ballot != self.promised and not self.join(ballot):\n            return False\n",
            "        if ballot > self.promised:\n            self.join(ballot)\n",
        ),
        Patch(
            "acceptor",
            "                    _new(Accepted, (self.promised, tuple(runs[start",
            "                    _new(Accepted, (self.voted, tuple(runs[start",
        ),
    ),
    _mutant(
        "log_promise_hides_votes",
        "A promise reports only the lowest slot that was voted in.",
        ("PromiseTruthful", *_PICK),
        Patch(
            "acceptor",
            "            entries.append((slot, vote.accepted_ballot, vote.accepted_value))\n        return",
            "            if not entries:\n"
            "                entries.append((slot, vote.accepted_ballot, vote.accepted_value))\n"
            "        return",
        ),
        ground=Ground(_BUSY),
    ),
    _mutant(
        "page_of_a_left_ballot",
        "An acceptor goes on telling its votes to a candidate after it joined a higher ballot.",
        ("PromiseTruthful", "PromiseMonotone", "AcceptSafe"),
        Patch(
            "acceptor",
            "        if not self.join(ballot):\n            return _new(Nack",
            "        if not self.join(ballot) and not self.votes:\n            return _new(Nack",
        ),
        Patch("acceptor", "        if self.voted >= ballot:\n            return None\n", ""),
    ),
    # --- phase 1 ---------------------------------------------------------------------------------------
    _mutant(
        "promise_of_one_page",
        "A promise counts when its first page has come.",
        ("VotesOnce", *_PICK),
        Patch("proposer", "        if message.following:\n", "        if False:\n"),
        ground=Ground(_BUSY, settings=_PAGED),
    ),
    _mutant(
        "log_lowest_vote_binds",
        "A new leader takes in each slot the value of the lowest ballot that the promises held.",
        _PICK,
        Patch(
            "proposer",
            "            if known is None or ballot > known[0]:\n",
            "            if known is None or ballot < known[0]:\n",
        ),
        ballots=3,
        script=SCRIPTS["log_lowest_vote_binds"],
    ),
    _mutant(
        "log_last_promise_binds",
        "A new leader takes in each slot the value of the promise that came last.",
        _PICK,
        Patch("proposer", "            if known is None or ballot > known[0]:\n", "            if True:\n"),
        ballots=3,
        script=SCRIPTS["log_last_promise_binds"],
    ),
    _mutant(
        "log_late_promise_counts",
        "A promise for an older ballot of the same candidate counts for the new one.",
        ("VotesOnce", *_PICK),
        Patch(
            "proposer",
            "            message.ballot != self.ballot\n            or sender not in",
            "            message.ballot.node != self.ballot.node\n            or sender not in",
        ),
        Patch(
            "replica",
            "        if candidate is None or message.ballot != candidate.ballot:\n",
            "        if candidate is None:\n",
        ),
        ground=Ground(_BUSY),
    ),
    _mutant(
        "log_nack_counts",
        "A refusal counts as a promise that reports no votes.",
        ("VotesOnce", *_PICK),
        Patch(
            "replica",
            '            self._context.event("preempted", "Nack", ballot=ballot, by=promised)\n'
            "            self._candidate = None\n"
            "            self._election.follow_nobody(self._context, now_s)\n",
            "            candidate._promised.add(sender)\n"
            "            if candidate.is_elected:\n"
            "                self._take_office(candidate, now_s)\n",
        ),
        ground=Ground(_BUSY),
    ),
    _mutant(
        "log_half_is_a_quorum",
        "Half of the members are a quorum: one too few.",
        ("AcceptSafe", *_AGREE, "ReadFresh"),
        half=True,
    ),
    # --- what a new leader owes ------------------------------------------------------------------------
    _mutant(
        "reported_slots_reused",
        "A new leader places new commands in slots for which the promises held one.",
        _PICK,
        Patch(
            "proposer",
            "        top = max(best, default=floor)\n",
            "        top = floor\n",
        ),
    ),
    _mutant(
        "gap_left",
        "A new leader proposes what was reported, and leaves the gaps between.",
        ("GapFilled", "AppliedContiguous", *_PICK),
        Patch(
            "proposer",
            "best[slot][1] if slot in best else NOP_VALUE for",
            "best[slot][1] if slot in best else None for",
        ),
        Patch(
            "office",
            "            self._place(debts.popleft(), None)\n",
            "            owed = debts.popleft()\n"
            "            if owed is None:\n"
            "                self.leader.last += 1\n"
            "            else:\n"
            "                self._place(owed, None)\n",
        ),
        ground=Ground(_BUSY),
        budget=4000,
    ),
    _mutant(
        "gap_filled_over_a_vote",
        "A new leader takes only the highest slot from the promises, and fills all below with no-ops.",
        _PICK,
        Patch(
            "proposer",
            "best[slot][1] if slot in best else NOP_VALUE for",
            "best[slot][1] if slot == top else NOP_VALUE for",
        ),
        ground=Ground(_BUSY),
    ),
    _mutant(
        "new_before_owed",
        "A new leader takes new commands while it owes slots below.",
        _PICK,
        Patch(
            "office",
            "        return self._window if leader.heir is None and not leader.debts else 0\n",
            "        return self._window if leader.heir is None else 0\n",
        ),
        Patch(
            "office",
            "        debts, room = self.leader.debts, self._window\n",
            "        debts, room = self.leader.debts, min(self._window, 1)\n",
        ),
        ground=Ground(_BUSY),
        budget=4000,
    ),
    _mutant(
        "noop_in_a_compacted_slot",
        "A new leader that missed slots fills those that others have compacted with no-ops.",
        _PICK,
        Patch("proposer", "        if page.compacted > self._compacted:\n", "        if False:\n"),
        ground=Ground(_BUSY, log=_SNAPSHOTS),
        budget=4000,
    ),
    # --- counting --------------------------------------------------------------------------------------
    _mutant(
        "log_votes_across_ballots",
        "A leader counts votes of an older ballot of its own.",
        ("VotesOnce", *_AGREE),
        Patch(
            "office",
            "        ballot, runs = message\n        if ballot != leader.ballot:\n",
            "        ballot, runs = message\n        if ballot.node != leader.ballot.node:\n",
        ),
        script=SCRIPTS["log_votes_across_ballots"],
    ),
    _mutant(
        "log_vote_counted_twice",
        "A vote that arrives twice counts twice.",
        ("VotesOnce", *_AGREE),
        Patch(
            "proposer",
            "            voters.add(sender)\n",
            "            voters.add(\n"
            "                next(each for each in quorums.members if each not in voters)\n"
            "                if sender in voters else sender\n"
            "            )\n",
        ),
        ground=Ground(attrs.evolve(_BUSY, duplicate=0.1)),
    ),
    _mutant(
        "log_first_vote_decides",
        "A leader takes the first vote for a decision.",
        ("VotesOnce", *_AGREE),
        Patch(
            "proposer",
            "            if quorums.is_quorum(voters, _PHASE_2):\n",
            "            if voters:\n",
        ),
    ),
    _mutant(
        "vote_of_an_observer",
        "An observer's votes are told and counted.",
        ("VotesOnce",),
        Patch(
            "replica",
            "            if context.is_member:\n                context.out.sends",
            "            if True:\n                context.out.sends",
        ),
        Patch("office", "            return  # an observer has no vote\n", "            pass\n"),
        Patch(
            "proposer",
            "            if quorums.is_quorum(voters, _PHASE_2):\n",
            "            if len(voters) * 2 > len(quorums.members):\n",
        ),
        directed="a_vote_of_an_observer",
    ),
    # --- commit indexes ----------------------------------------------------------------------------------
    _mutant(
        "index_over_an_older_vote",
        "A follower takes a commit index for one over its vote of an older ballot.",
        _AGREE,
        Patch(
            "learner",
            "            if vote is None or vote.accepted_value is None or vote.accepted_ballot < ballot:\n",
            "            if vote is None or vote.accepted_value is None:\n",
        ),
        script=SCRIPTS["index_over_an_older_vote"],
    ),
    _mutant(
        "index_of_a_higher_ballot",
        "A leader that installs a snapshot sends its index, though others chose there at a higher ballot.",
        _AGREE,
        Patch(
            "replica",
            '        if ballot > self._acceptor.promised:\n            self._join(ballot, "install"',
            '        if False:\n            self._join(ballot, "install"',
        ),
        Patch(
            "replica",
            '            self._step_down(office, "deposed", f"slot {mark} was committed by another", '
            "cause, now_s)\n",
            "            office.leader.committed = mark\n"
            "            office.leader.last = max(office.leader.last, mark)\n",
        ),
        directed="an_index_of_a_higher_ballot",
    ),
    _mutant(
        "votes_committed_by_a_restart",
        "After a restart every vote above the last note of the commit index is taken for what was chosen.",
        _AGREE,
        Patch(
            "learner",
            "        for ballot, upto in hints:\n            while slot < upto:\n",
            "        for ballot, _ in hints or [(BOTTOM, 0)]:\n            while slot < acceptor.highest:\n",
        ),
        ground=Ground(_BUSY),
    ),
    _mutant(
        "vote_told_as_chosen",
        "Who is asked for what was chosen tells its votes, committed or not.",
        ("Agreement", *_AGREE),
        Patch(
            "learner",
            "        for slot in range(first, min(last, self.committed) + 1):\n",
            "        for slot in range(first, last + 1):\n",
        ),
        ground=Ground(nodes=5),
        script=SCRIPTS["vote_told_as_chosen"],
    ),
    # --- reads -------------------------------------------------------------------------------------------
    _mutant(
        "read_without_confirmation",
        "A leader answers reads without asking whether it still leads.",
        _FRESH,
        Patch(
            "reads",
            "        if self._round is None or not leader.is_confirmed(self._round[0]):\n",
            "        if self._round is None:\n",
        ),
        script=SCRIPTS["read_without_confirmation"],
    ),
    _mutant(
        "read_confirmed_by_one",
        "One answer confirms a read, however many nodes there are.",
        _FRESH,
        Patch(
            "proposer",
            "        nodes = {node for node, peer in self.peers.items() if peer.sequence >= sequence}\n"
            "        nodes.add(self.node)\n"
            "        return self._quorums.is_quorum(nodes, _PHASE_2)\n",
            "        return any(peer.sequence >= sequence for peer in self.peers.values())\n",
        ),
        ground=Ground(nodes=5),
        script=SCRIPTS["read_confirmed_by_one"],
    ),
    _mutant(
        "read_before_owed",
        "A new leader answers reads before what it owes is committed.",
        _FRESH,
        Patch(
            "reads",
            " and self._round is None and leader.committed >= leader.owed\n",
            " and self._round is None\n",
        ),
        ground=Ground(_READING),
        budget=6000,
    ),
    _mutant(
        "read_joins_a_round",
        "A read is answered by a round of heartbeats that began before it came.",
        _FRESH,
        Patch(
            "reads",
            "        self.waiting.append(read)\n        return True\n\n    def wants_round",
            "        (self.waiting if self._round is None else self._round[2]).append(read)\n"
            "        return True\n\n    def wants_round",
        ),
        script=SCRIPTS["read_joins_a_round"],
    ),
    _mutant(
        "read_joins_a_question",
        "A follower's read is answered by the index that was asked for before it came.",
        _FRESH,
        Patch(
            "reads",
            "        for request in self._asked:\n            outcome",
            "        late, self.waiting = self.waiting, deque()\n"
            "        for request in (*self._asked, *late):\n            outcome",
        ),
        script=SCRIPTS["read_joins_a_question"],
    ),
    _mutant(
        "reply_above_the_heartbeat",
        "A follower of a higher ballot still answers heartbeats of the lower one.",
        _FRESH,
        Patch(
            "replica",
            "        ballot, sequence, committed = message\n"
            "        if self._obey(sender, ballot, message, now_s):\n",
            "        ballot, sequence, committed = message\n"
            "        if sequence and ballot < self._acceptor.promised:\n"
            "            reply = _new(HeartbeatReply, (ballot, sequence, self._learner.committed))\n"
            "            self._context.out.sends.append((sender, reply))\n"
            "        elif self._obey(sender, ballot, message, now_s):\n",
        ),
        script=SCRIPTS["reply_above_the_heartbeat"],
    ),
    _mutant(
        "deposed_leader_stays",
        "A leader that promised a higher ballot goes on as the leader of its own.",
        (*_FRESH, *_PICK, "VoteAtMostPromise"),
        Patch(
            "replica",
            '            self._step_down(self._office, "deposed", f"ballot {ballot} was begun", '
            "cause, now_s)\n",
            "            pass\n",
        ),
        script=SCRIPTS["deposed_leader_stays"],
    ),
    _mutant(
        "follower_reads_by_itself",
        "A follower answers reads from its own commit index.",
        _FRESH,
        Patch(
            "replica",
            "            taken = self._asking.add(request, self._context)\n",
            "            outcome = (request, OutcomeKind.READY, self._learner.committed, None, '')\n"
            "            self._context.out.outcomes.append(_new(Outcome, outcome))\n"
            "            taken = True\n",
        ),
        ground=Ground(_READING),
    ),
    _mutant(
        "answer_to_another_question",
        "A follower takes a leader's answer to an earlier question for one to its present one.",
        _FRESH,
        Patch(
            "reads",
            "        if not self._asked or message.life != life or message.number != self._number:\n",
            "        if not self._asked:\n",
        ),
        ground=Ground(_READING),
        budget=6000,
    ),
    # --- leases ------------------------------------------------------------------------------------------
    _mutant(
        "lease_without_drift",
        "A leader counts on its lease for as long as it was granted, whatever its clock may drift.",
        _FRESH,
        Patch(
            "lease",
            "        lasts_s = settings.lease_s * (1.0 - settings.lease_drift)\n",
            "        lasts_s = settings.lease_s\n",
        ),
        directed="a_slow_clock",
    ),
    _mutant(
        "lease_from_receipt",
        "A leader counts its lease from when the grants came, not from when it asked for them.",
        _FRESH,
        Patch(
            "office",
            "            self.lease.answer(sender, message.sequence)\n",
            "            self.lease._granted_s[sender] = now_s\n",
        ),
        directed="a_late_grant",
    ),
    _mutant(
        "grant_forgotten",
        "A grantor that restarts promises at once what it had granted not to.",
        _FRESH,
        Patch(
            "replica",
            "        waits_s = settings.lease_s if records else -NEVER_S\n",
            "        waits_s = -NEVER_S\n",
        ),
        directed="a_grantor_that_restarts",
    ),
    # --- snapshots ---------------------------------------------------------------------------------------
    _mutant(
        "compacted_without_telling",
        "A promise does not say up to where its acceptor has compacted.",
        ("DurableBeforeSend", "PromiseTruthful", *_PICK),
        Patch(
            "acceptor",
            "            entries.append((slot, vote.accepted_ballot, vote.accepted_value))\n"
            "        return _new(Promise, (ballot, first, tuple(entries), 0, self.compacted))\n",
            "            entries.append((slot, vote.accepted_ballot, vote.accepted_value))\n"
            "        return _new(Promise, (ballot, first, tuple(entries), 0, 0))\n",
        ),
        ground=Ground(_BUSY, log=_SNAPSHOTS),
        budget=4000,
    ),
    _mutant(
        "applied_again_after_install",
        "What a newer snapshot holds is applied again after a restart.",
        ("AppliedContiguous", "StateExact", "SnapshotExact", "AppliedPrefix"),
        Patch(
            "replica",
            "        applies[:] = [each for each in applies if each[0] > mark]\n",
            "        applies[:] = list(applies)\n",
        ),
        ground=Ground(_BUSY, settings=MultiPaxosSettings(hint_slots=1), log=_SNAPSHOTS),
        budget=4000,
    ),
    _mutant(
        "install_does_not_join",
        "Who installs a snapshot does not join the ballot that its maker had promised.",
        ("SlotAgreement", "CommitAtBallot", "AppliedPrefix"),
        Patch(
            "replica",
            "        if ballot > self._acceptor.promised:\n"
            '            self._join(ballot, "install", now.monotonic_s)\n',
            "",
        ),
        # One node decides alone: with majorities it takes five nodes and twice the messages.
        ground=Ground(nodes=4, quorums=ExplicitQuorums([1, 2, 3, 4], [[2]]), log=_SNAPSHOTS),
        script=SCRIPTS["install_does_not_join"],
        ballots=3,
    ),
    # --- ballots and outcomes ----------------------------------------------------------------------------
    _mutant(
        "log_ballot_before_durable",
        "A ballot leaves before the disk knows that its round is used.",
        ("DurableBeforeSend", "BallotOwnership"),
        Patch("replica", "        if ballot.round > self._rounds.durable:\n", "        if False:\n"),
        ground=Ground(_BUSY, settings=MultiPaxosSettings(reserve_rounds=1)),
    ),
    _mutant(
        "log_ballot_reused",
        "A node begins with the rounds of its earlier life again after a restart.",
        ("BallotOwnership", "OneValuePerBallot", *_PICK),
        Patch("paxos.basic.reservation", "        self._floor = reserved\n", "        self._floor = 0\n"),
        ground=Ground(_BUSY),
        budget=6000,
    ),
    _mutant(
        "deposed_says_rejected",
        "A deposed leader tells clients that what it placed was rejected.",
        ("RejectedNotApplied",),
        Patch(
            "office",
            "(flight.command.request, OutcomeKind.UNKNOWN, None",
            "(flight.command.request, OutcomeKind.REJECTED, None",
        ),
        directed="what_a_deposed_leader_says",
    ),
    _mutant(
        "votes_asked_only_once",
        "A vote that was not cast is not asked for again.",
        ("Liveness",),
        Patch(
            "office",
            "                for accept in accepts:\n                    self._context.send(node, accept)\n",
            "",
        ),
        budget=400,
    ),
)
