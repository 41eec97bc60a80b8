"""The mistakes that are planted in EPaxos, each as small as it was when somebody made it.

See `tests.mutants.patches` for what a patch is. The order is that of an instance's life: what is durable, the
fast path, the slow one, recoveries, conflicts, execution, barriers. Each is shown by a schedule of
`tests.mutants.epaxos_scripts`, since random search finds many of them late or never.
"""

from typing import Final

from tests.mutants.patches import Mutant, Patch

__all__ = ["EPAXOS"]

#: What shows when replicas decide differently.
_AGREE: Final = ("Agreement", "Stability", "RecoveryPreserves", "VotesOnce")
#: What shows when two that conflict do not know of each other.
_ORDER: Final = ("Visibility", "ExecutionOrder", "RealTime", "StateExact")


def _mutant(name: str, sentence: str, oracles: tuple[str, ...], script: str, *patches: Patch) -> Mutant:
    return Mutant(name, sentence, oracles, patches, protocol="epaxos", directed=f"epaxos.{script}")


def _early(name: str, sentence: str, script: str, *types: str) -> Mutant:
    return Mutant(
        name, sentence, ("DurableBeforeSend",), early=types, protocol="epaxos", directed=f"epaxos.{script}"
    )


#: EPaxos, rule by rule.
EPAXOS: Final = (
    # --- what is durable -------------------------------------------------------------------------------
    _early(
        "pre_acceptance_before_durable",
        "A pre-acceptance leaves before it is on disk.",
        "a_slow_disk",
        "PreAcceptOK",
    ),
    _early("epaxos_vote_before_durable", "A vote leaves before it is on disk.", "a_slow_disk", "AcceptOK"),
    _early(
        "report_before_durable",
        "A report leaves before the ballot joined is on disk.",
        "a_slow_disk",
        "RecoverOK",
    ),
    _mutant(
        "pre_acceptance_not_written",
        "A pre-acceptance never gets to the disk.",
        ("DurableBeforeSend",),
        "only_the_owner_knows",
        Patch(
            "acceptor",
            "        out.writes.append((instance_key(sender, number), pack_instance(instance)))\n",
            "",
        ),
    ),
    _mutant(
        "vote_never_written",
        "A vote never gets to the disk.",
        ("DurableBeforeSend",),
        "a_slow_commit",
        Patch(
            "acceptor",
            "        self._table.accept(instance, choice, self._context)\n"
            "        self._table.save(instance, self._context)\n",
            "        self._table.accept(instance, choice, self._context)\n",
        ),
    ),
    _mutant(
        "ballot_joined_not_written",
        "The ballot that a recovery asks to join never gets to the disk.",
        ("DurableBeforeSend",),
        "only_the_owner_knows",
        Patch(
            "acceptor",
            "            instance.ballot = ballot\n            self._table.save(instance, self._context)\n",
            "            instance.ballot = ballot\n",
        ),
    ),
    _mutant(
        "fast_commit_before_durable",
        "An owner acts on its fast commit, and tells of it, before its disk has it.",
        ("DurableBeforeSend", *_AGREE),
        "an_owner_with_a_slow_disk",
        Patch(
            "proposer",
            "choice(False, proposal.deps), context, is_settled=False)\n".replace("choice", "Choice"),
            "Choice(False, proposal.deps), context)\n        self._learner.announce(instance, context)\n",
        ),
        Patch("proposer", "        self._settling.append(instance.number)\n", ""),
    ),
    _mutant(
        "numbers_not_reserved",
        "The reservation of numbers never gets to the disk: a restarted owner begins at 1 again.",
        ("DurableBeforeSend", "BallotOwnership", "Validity", "InitialDepsCommon"),
        "a_number_again",
        Patch(
            "proposer", "            context.write(RESERVATION_KEY, pack_reservation(self._reserved))\n", ""
        ),
    ),
    _mutant(
        "number_reused",
        "A restarted owner goes on after the last number that its disk has an instance of.",
        ("BallotOwnership", "Validity", "InitialDepsCommon"),
        "a_number_again",
        Patch(
            "proposer",
            "        self.next: int = reserved + 1\n",
            "        self.next: int = max(table.by_rank[context.own_rank], default=0) + 1\n",
        ),
    ),
    _mutant(
        "lost_number_conflicts_with_nothing",
        "A restarted owner forgets that others may know commands of its own which it does not.",
        ("NopSound", *_AGREE),
        "an_owner_forgets",
        Patch("replica", "            if found.reserved:\n", "            if False:\n"),
    ),
    _mutant(
        "owner_resumes",
        "A restarted owner counts pre-acceptances again, though it may have proposed a union before.",
        ("FastCommitWitness", "BallotOwnership", *_AGREE),
        "an_owner_resumes",
        Patch(
            "replica",
            "        for instance in table:\n            if instance.phase == COMMITTED:\n",
            "        from epaxos.proposer import Proposal\n"
            "        for instance in table:\n"
            "            if instance.rank == context.own_rank and instance.initial_deps is not None:\n"
            "                own = Proposal(instance, instance.initial_deps, now_s + 60.0, 60.0)\n"
            "                own.answered, own.agreeing = {context.node}, 1\n"
            "                self._proposer.proposals[instance.number] = own\n"
            "            if instance.phase == COMMITTED:\n",
        ),
    ),
    # --- the fast path ---------------------------------------------------------------------------------
    _mutant(
        "answer_recomputed",
        "A repeated PreAccept is answered with what conflicts now, and that is stored.",
        ("NopSound", *_AGREE),
        "asked_again",
        Patch(
            "acceptor",
            "            assert instance.deps is not None\n",
            "            instance.deps = self._table.index.join(\n"
            "                instance.rank, instance.number, instance.footprint, message.deps)\n"
            "            self._table.save(instance, context)\n",
        ),
    ),
    _mutant(
        "pre_acceptance_counted_twice",
        "A pre-acceptance that arrives twice counts twice.",
        ("VotesOnce", "FastCommitWitness"),
        "answered_twice",
        Patch(
            "proposer",
            "        if sender in answered or not context.fits(deps):\n",
            "        if not context.fits(deps):\n",
        ),
    ),
    _mutant(
        "observer_pre_accepts",
        "The pre-acceptance of a node that is no member counts.",
        ("VotesOnce", "FastCommitWitness"),
        "an_observer_answers",
        Patch(
            "replica",
            "        if sender in self._context.rank:\n            self._proposer.on_pre_accept_ok",
            "        if True:\n            self._proposer.on_pre_accept_ok",
        ),
    ),
    _mutant(
        "majority_is_fast",
        "A classic quorum commits on the fast path.",
        ("VotesOnce", "FastCommitWitness"),
        "four_of_seven",
        Patch(
            "proposer",
            "            if proposal.agreeing >= context.fast:\n",
            "            if proposal.agreeing >= context.classic:\n",
        ),
    ),
    _mutant(
        "union_committed_fast",
        "A fast quorum that answers with different dependencies commits their union.",
        ("FastCommitWitness", "VotesOnce"),
        "a_slow_commit",
        Patch(
            "proposer",
            "        if deps == proposal.deps:\n            proposal.agreeing += 1\n",
            "        if True:\n            proposal.deps = join(proposal.deps, deps)\n"
            "            proposal.agreeing += 1\n",
        ),
    ),
    _mutant(
        "slow_path_always",
        "An owner goes the slow path as soon as a classic quorum has answered, whatever it answered.",
        ("FastPathTaken",),
        "a_fast_commit",
        Patch(
            "proposer",
            "            if proposal.agreeing >= context.fast:\n",
            "            if proposal.agreeing > context.fast:\n",
        ),
    ),
    # --- the slow path ---------------------------------------------------------------------------------
    _mutant(
        "union_of_too_few",
        "The slow path is gone with the dependencies of one answer fewer than a classic quorum has.",
        ("VotesOnce", *_ORDER),
        "one_too_few",
        Patch(
            "proposer",
            "        if count >= context.classic:\n            self._consider",
            "        if count >= context.classic - 1:\n            self._consider",
        ),
        Patch("proposer", "        if is_lost or (", "        if count >= context.classic - 1 or ("),
    ),
    _mutant(
        "own_union_only",
        "The slow path proposes what the owner knew first, and not what those who answered know.",
        ("VotesOnce", *_ORDER),
        "a_slow_commit",
        Patch(
            "proposer", "choice = Choice(False, proposal.union)\n", "choice = Choice(False, proposal.deps)\n"
        ),
    ),
    _mutant(
        "epaxos_vote_counted_twice",
        "A vote on the slow path that arrives twice counts twice.",
        ("VotesOnce",),
        "voted_twice",
        Patch(
            "proposer",
            "        proposal.answered.add(sender)\n        if len(proposal.answered) >= context.classic:\n",
            "        proposal.agreeing = max(proposal.agreeing, 100) + 1\n"
            "        if proposal.agreeing - 100 >= context.classic:\n",
        ),
    ),
    _mutant(
        "recovery_vote_counted_twice",
        "A vote in a recovery that arrives twice counts twice.",
        ("VotesOnce",),
        "voted_twice",
        Patch(
            "recovery",
            "        recovery.votes.add(sender)\n        if len(recovery.votes) >= context.classic:\n",
            "        recovery.agreeing = max(recovery.agreeing, 100) + 1\n"
            "        if recovery.agreeing - 100 >= context.classic:\n",
        ),
    ),
    _mutant(
        "epaxos_nack_counts",
        "Being told that a ballot is too low counts as a vote.",
        ("VotesOnce",),
        "a_nack_for_a_vote",
        Patch(
            "replica",
            "            self._recoveries.on_nack(rank,",
            "            self._recoveries.on_accept_ok(sender, AcceptOK(*message[:3]), context)\n"
            "            self._recoveries.on_nack(rank,",
        ),
    ),
    # --- recoveries ------------------------------------------------------------------------------------
    _mutant(
        "one_ballot_variable",
        "Joining a ballot counts as having voted at it: one variable where two are needed (Sutra, 2020).",
        ("AbalOnlyOnAccept", *_AGREE),
        "sutra",
        Patch(
            "acceptor",
            "            instance.ballot = ballot\n            self._table.save(instance, self._context)\n",
            "            instance.ballot = ballot\n"
            "            if instance.phase == ACCEPTED:\n"
            "                instance.accepted_ballot = ballot\n"
            "            self._table.save(instance, self._context)\n",
        ),
    ),
    _mutant(
        "epaxos_lowest_vote_binds",
        "A recovery proposes what was accepted at the lowest ballot.",
        _AGREE,
        "three_ballots",
        Patch("recovery", "            best = max(accepted,", "            best = min(accepted,"),
    ),
    _mutant(
        "epaxos_vote_below_ballot",
        "A vote is cast below the ballot joined.",
        ("BallotOrder", *_AGREE),
        "a_nack_for_a_vote",
        Patch(
            "acceptor",
            "        if ballot < instance.ballot:\n            self._nack(sender, instance, ballot)\n"
            "            return\n        if not self._context.fits(deps):\n",
            "        instance.ballot = min(instance.ballot, ballot)\n"
            "        if not self._context.fits(deps):\n",
        ),
    ),
    _mutant(
        "observer_reports",
        "The report of a node that is no member counts in a recovery.",
        ("VotesOnce",),
        "a_report_of_an_observer",
        Patch(
            "recovery",
            "or sender in recovery.reports or sender not in context.rank:\n",
            "or sender in recovery.reports:\n",
        ),
    ),
    _mutant(
        "threshold_one_more",
        "A recovery takes |Q| - e that agree for too few.",
        ("NopSound", *_AGREE),
        "only_the_owner_knows",
        Patch(
            "recovery",
            "        if len(agreeing) < len(reports) - context.fast_failures:\n",
            "        if len(agreeing) <= len(reports) - context.fast_failures:\n",
        ),
    ),
    _mutant(
        "recovery_takes_any_answer",
        "A recovery takes those for agreeing that answered with more than the initial dependencies.",
        ("NopSound", "InitialDepsCommon", "ValidationSound", *_AGREE),
        "asked_too_late",
        Patch(
            "recovery",
            "            if report.phase == PRE_ACCEPTED and report.deps == report.initial_deps\n",
            "            if report.phase == PRE_ACCEPTED\n",
        ),
    ),
    _mutant(
        "owner_ignored",
        "That the owner is among those asked makes no difference.",
        ("NopSound", *_AGREE),
        "an_owner_is_counted",
        Patch("recovery", "            if message_of_owner.phase != COMMITTED:\n", "            if False:\n"),
    ),
    _mutant(
        "validation_skipped",
        "A recovery proposes what may have been committed on the fast path, without asking what contradicts.",
        ("ValidationSound", *_ORDER),
        "nothing_contradicts_yet",
        Patch(
            "recovery",
            "        recovery.stage = VALIDATING\n        self._again(recovery, context, now_s)\n",
            "        self._propose(recovery, Choice(False, recovery.deps), recovery.value, context, now_s)\n"
            "        return\n",
        ),
    ),
    _mutant(
        "validation_by_one",
        "A recovery goes on when one of those asked has found no contradiction.",
        ("ValidationSound", *_ORDER),
        "nothing_contradicts_yet",
        Patch(
            "recovery",
            "        if len(recovery.validated) < len(recovery.quorum):\n",
            "        if len(recovery.validated) < 1:\n",
        ),
    ),
    _mutant(
        "validation_of_the_committed_only",
        "A validation looks at what is decided, and not at what may be.",
        ("ValidationSound", *_ORDER),
        "two_wait",
        Patch(
            "table",
            "                    conflicts.append((other.rank, other.number))\n",
            "                    continue\n",
        ),
    ),
    _mutant(
        "waited_and_not_looked",
        "When what a recovery waited for is decided, it goes on without looking whether that knows of it.",
        ("ValidationSound", *_ORDER),
        "waits_and_loses",
        Patch(
            "recovery",
            "            elif not instance.is_nop and instance.deps is not None and "
            "instance.deps[mine.rank] < mine.number:\n",
            "            elif False:\n",
        ),
    ),
    _mutant(
        "waiting_off_by_one",
        "A recovery gives up for one that waits with n - f - e that agree, which is one too few.",
        ("NopSound", *_AGREE),
        "waits_in_vain",
        Patch(
            "recovery",
            "        if agreeing > len(context.members) - context.failures - context.fast_failures:\n",
            "        if agreeing >= len(context.members) - context.failures - context.fast_failures:\n",
        ),
    ),
    _mutant(
        "validate_after_accept",
        "A Validate that comes late writes over the no-op that was accepted.",
        ("AbalOnlyOnAccept", *_AGREE),
        "late_validate",
        Patch(
            "acceptor",
            "        if instance.phase == ACCEPTED or not self._context.fits(deps):\n            return\n",
            "        instance.is_nop = False\n",
        ),
    ),
    _mutant(
        "validate_after_commit",
        "A commit is taken at any ballot, and a Validate still writes over it.",
        _AGREE,
        "validate_after_commit",
        Patch(
            "acceptor",
            "        instance = self._asked(sender, owner, number, ballot, message)\n"
            "        if instance is None:\n            return\n        if ballot != instance.ballot:\n"
            "            if ballot < instance.ballot:\n",
            "        instance = self._table.find(self._context.rank[owner], number)\n"
            "        if instance is None:\n            return\n"
            "        if instance.phase == COMMITTED:\n"
            "            instance.is_nop, instance.value = False, value\n"
            "            return\n"
            "        if ballot != instance.ballot:\n"
            "            if ballot < instance.ballot:\n",
        ),
    ),
    # --- what conflicts --------------------------------------------------------------------------------
    _mutant(
        "last_writer_only",
        "Dependencies name the last conflicting instance of one member, for that depends on the rest.",
        ("Visibility", *_ORDER),
        "three_writers",
        Patch(
            "proposer",
            "        if footprint.everything and is_marker(command) and deps[rank] < number - 1:\n",
            "        last = max(deps)\n"
            "        at = deps.index(last)\n"
            "        deps = tuple(last if each == at else 0 for each in range(len(deps)))\n"
            "        if footprint.everything and is_marker(command) and deps[rank] < number - 1:\n",
        ),
        Patch(
            "acceptor",
            "        instance.deps = answer = table.index.join(rank, number, footprint, deps)\n",
            "        table.index.add(rank, number, footprint)\n        instance.deps = answer = deps\n",
        ),
    ),
    _mutant(
        "hearsay_does_not_conflict",
        "An instance known from anything but its PreAccept is not in the conflict index.",
        _ORDER,
        "known_by_hearsay",
        Patch(
            "table", "            self.index.add(instance.rank, instance.number, instance.footprint)\n", ""
        ),
    ),
    _mutant(
        "accepted_no_op_forgotten",
        "An accepted no-op that is not decided conflicts with nothing.",
        ("NopSound", *_ORDER),
        "a_no_op_that_loses",
        Patch(
            "table",
            "            self.index.hold(instance.rank, instance.number)\n        elif was_held",
            "            pass\n        elif was_held",
        ),
        Patch(
            "table",
            "            if found.value is not None:\n                self.learn",
            "            if found.value is not None and not found.is_nop:\n                self.learn",
        ),
        Patch(
            "table",
            "            self.index.hold(instance.rank, instance.number)\n\n    def forget",
            "            pass\n\n    def forget",
        ),
    ),
    _mutant(
        "barrier_passes_reads",
        "A barrier does not conflict with what only reads.",
        ("BarrierCut", *_ORDER),
        "a_reader_and_a_barrier",
        Patch(
            "conflicts",
            "            self._top[rank] = number\n        if everything:\n",
            "            if writes or write_ranges or everything:\n                self._top[rank] = number\n"
            "        if everything:\n",
        ),
        Patch(
            "conflicts",
            "        if number > self._top[rank]:\n            self._top[rank] = number\n"
            "        return result\n",
            "        if not only_reads and number > self._top[rank]:\n"
            "            self._top[rank] = number\n"
            "        return result\n",
        ),
        Patch(
            "conflicts",
            "            result = self._merge(deps, vector[members:] * 2, self._always)\n",
            "            result = self._merge(deps, vector[members:] * 2, self._nothing[:members])\n",
        ),
    ),
    # --- execution -------------------------------------------------------------------------------------
    _mutant(
        "executed_with_a_gap",
        "A command is carried out although what it depends on is not all decided.",
        ("ExecutionClosed", *_ORDER),
        "a_gap",
        Patch(
            "execution",
            "                if needed > reached:\n                    break\n",
            "                if False:\n                    break\n",
        ),
    ),
    _mutant(
        "component_by_arrival",
        "What depends on each other is carried out in the order in which it came to be known.",
        ("ExecutionClosed", "ExecutionOrder"),
        "a_component",
        Patch(
            "execution",
            "            nodes.sort(key=_order_in_component)\n",
            "            nodes.sort(key=lambda node: (node.barrier, -node.rank, node.number))\n",
        ),
        Patch(
            "execution",
            "            components = contended_components(nodes, len(frontier))\n",
            "            components = [\n"
            "                tuple(sorted(each, key=lambda node: (-node.rank, node.number)))\n"
            "                for each in contended_components(nodes, len(frontier)) or ()\n"
            "            ] or None\n",
        ),
    ),
    _mutant(
        "answered_at_commit",
        "A command is carried out at its owner as soon as it is committed.",
        ("ExecutionClosed", "ExecutedOnce", *_ORDER),
        "a_gap",
        Patch(
            "learner",
            "        owner = context.members[instance.rank]\n        self._announced.append(",
            "        owner = context.members[instance.rank]\n"
            "        vars(self).setdefault('early', set()).add(instance)\n"
            "        context.out.applies.append(((owner, instance.number), instance.command))\n"
            "        self._announced.append(",
        ),
        Patch(
            "learner",
            "                applies.append(((context.members[node.rank], node.number), command))\n",
            "                if instance not in vars(self).get('early', ()):\n"
            "                    applies.append(((context.members[node.rank], node.number), command))\n",
        ),
    ),
    _mutant(
        "lower_first",
        "Instances are carried out in the order of their numbers, as they are committed.",
        ("ExecutionClosed", *_ORDER),
        "a_gap",
        Patch(
            "execution",
            "        for rank in range(instance.rank, len(deps)):\n",
            "        for rank in range(instance.rank, 0):\n",
        ),
        Patch(
            "execution",
            "                if needed > reached:\n                    break\n",
            "                if False:\n                    break\n",
        ),
    ),
    # --- barriers --------------------------------------------------------------------------------------
    _mutant(
        "index_reset_to_the_barrier",
        "Who truncates depends on the barrier alone, and forgets in dependencies what it stands for.",
        (*_ORDER, *_AGREE, "NopSound"),
        "no_floor",
        Patch("learner", "                table.index.raise_floor(cut.floor)\n", ""),
        Patch(
            "replica",
            "        table.floor = tuple(map(max, table.floor, cut.floor))\n",
            "        table.floor = tuple(map(max, table.floor, cut.floor))\n"
            "        table.index._drop(cut.floor)\n"
            "        kept = table.by_rank[barrier[0]][barrier[1]]\n"
            "        table.index.add(kept.rank, kept.number, kept.footprint)\n",
        ),
    ),
    _mutant(
        "truncated_without_floor",
        "What a classic quorum has in snapshots is forgotten in dependencies.",
        (*_ORDER, *_AGREE, "NopSound"),
        "no_floor",
        Patch(
            "learner",
            "                table.index.raise_floor(cut.floor)\n",
            "                table.index._drop(cut.floor)\n"
            "                table.index.add(cut_at.rank, cut_at.number, cut_at.footprint)\n",
        ),
    ),
    _mutant(
        "truncated_at_once",
        "A snapshot of one's own is enough to truncate, and the floor stands for what went.",
        (*_ORDER, *_AGREE, "NopSound"),
        "validation_blind",
        Patch("barrier", ">= context.classic:\n", ">= 1:\n"),
    ),
    _mutant(
        "barrier_forgotten",
        "The barrier goes with what it stands for, so that a validation finds nothing that contradicts.",
        ("ValidationSound", *_ORDER),
        "the_barrier_is_asked",
        Patch(
            "replica",
            "                if (rank, number) not in cut.exceptions and (rank, number) != barrier:\n",
            "                if (rank, number) not in cut.exceptions:\n",
        ),
    ),
    _mutant(
        "gone_made_anew",
        "Who is asked about what it truncated begins it anew.",
        ("RecoveryPreserves", "NopSound", *_AGREE),
        "gone_anew",
        Patch(
            "table", '        assert number > self.floor[rank], "a gone instance is never made anew"\n', ""
        ),
        Patch(
            "table",
            "        return None if number <= self.floor[rank] else self.make(rank, number, context)\n",
            "        return self.make(rank, number, context)\n",
        ),
        Patch(
            "table",
            "        return instance.number <= self.floor[instance.rank] and instance.phase != COMMITTED\n",
            "        return False\n",
        ),
    ),
    _mutant(
        "installed_and_asked",
        "Who installed a snapshot answers about what that holds from what it knew before.",
        ("RecoveryPreserves", "NopSound", *_AGREE),
        "installed_early",
        Patch(
            "table",
            "        return instance.number <= self.floor[instance.rank] and instance.phase != COMMITTED\n",
            "        return False\n",
        ),
    ),
    _mutant(
        "exceptions_lost",
        "A snapshot does not hold what comes after its barrier though it is at or below the floor.",
        ("BarrierCut", "StateExact", "Liveness"),
        "exception_installed",
        Patch(
            "replica",
            "        return barriers.pack(cut, exceptions, barrier, context)\n",
            "        return barriers.pack(cut, [], barrier, context)\n",
        ),
    ),
    _mutant(
        "gone_by_dependencies",
        "What is at or below the barrier's dependencies counts as carried out before it.",
        ("BarrierCut", "ExecutedOnce", "ExecutionClosed", "StateExact", "Liveness"),
        "exception_installed",
        Patch(
            "barrier",
            "        exceptions = frozenset((node.rank, node.number) for node in cut.exceptions)\n",
            "        exceptions = frozenset()\n"
            "        cut = cut._replace(floor=tuple(map(max, cut.floor, barrier.deps)))\n",
        ),
    ),
    _mutant(
        "cut_inside",
        "The snapshot at a barrier is made at its place in a component, and not after that.",
        ("BarrierCut", "ExecutionClosed", "StateExact", "ExecutionOrder"),
        "in_a_component",
        Patch(
            "execution",
            "_order_in_component: Final = itemgetter(4, 0, 1)",
            "_order_in_component: Final = itemgetter(0, 1)",
        ),
        Patch(
            "execution",
            "        return nodes[-1].barrier\n",
            "        return any(node.barrier for node in nodes)\n",
        ),
    ),
)
