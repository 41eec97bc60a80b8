"""The core of Fast Paxos: rounds, the pick rule against brute force, collisions, counting, the acceptor."""

from collections.abc import Iterator, Mapping
from itertools import combinations, product

import pytest

from fastpaxos.acceptor import FastAcceptor, FastVote
from fastpaxos.choosing import Freedom, choosable, pick
from fastpaxos.collision import Contention, has_collided, may_be_chosen, recover
from fastpaxos.learner import Tally
from fastpaxos.rounds import OPEN, Recovery, Rounds, coordinator
from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.basic.messages import Accept, Accepted, Nack, Prepare, Promise
from paxos.errors import ConfigurationError, ProtocolBreach
from paxos.quorum import ExplicitQuorums, FastQuorums, FlexibleQuorums, Phase, QuorumSystem, WeightedQuorums

pytestmark = pytest.mark.once

COORDINATED = Rounds.of(Recovery.COORDINATED)
UNCOORDINATED = Rounds.of(Recovery.UNCOORDINATED)

SYSTEMS: dict[str, QuorumSystem] = {
    "3": FastQuorums([1, 2, 3]),
    "4": FastQuorums([1, 2, 3, 4]),
    "5": FastQuorums([1, 2, 3, 4, 5]),
    "5, fast quorums of 3": FlexibleQuorums([1, 2, 3, 4, 5], 5, 3, 3),
    "weighted": WeightedQuorums({1: 2, 2: 1, 3: 1, 4: 1}, 3, 3, 4),
    "explicit": ExplicitQuorums(
        [1, 2, 3, 4], [{1, 2}, {1, 3, 4}, {2, 3, 4}], [{1, 2}, {1, 3, 4}, {2, 3, 4}], [{1, 2, 3}, {1, 2, 4}]
    ),
}


# --- rounds ---------------------------------------------------------------------------------------------


def test_a_ballot_alone_says_whether_it_is_fast() -> None:
    assert COORDINATED.is_fast(OPEN)
    assert not COORDINATED.is_fast(Ballot(0, 0, 1))
    assert not COORDINATED.is_fast(BOTTOM)
    assert [UNCOORDINATED.is_fast(Ballot(7, 2, step)) for step in range(5)] == [True] * 4 + [False]


def test_only_the_immediate_successor_recovers() -> None:
    assert COORDINATED.successor(Ballot(3, 2, 0)) == Ballot(3, 2, 1)
    assert COORDINATED.successor(Ballot(3, 2, 1)) is None
    assert UNCOORDINATED.successor(OPEN) == Ballot(0, 0, 1)
    assert UNCOORDINATED.successor(Ballot(0, 0, 3)) == UNCOORDINATED.classic(0, 0)
    assert UNCOORDINATED.predecessor(Ballot(0, 0, 1)) == OPEN
    assert UNCOORDINATED.predecessor(OPEN) is None
    assert not COORDINATED.is_ballot(Ballot(0, 0, 2))


def test_a_round_of_nobody_is_coordinated_by_the_first_member() -> None:
    assert coordinator(OPEN, (2, 3, 5)) == 2
    assert coordinator(Ballot(4, 3), (2, 3, 5)) == 3


@pytest.mark.parametrize("step", [-1, 64, True, 1.0])
def test_steps_that_are_none_are_refused(step: int) -> None:
    with pytest.raises(ConfigurationError, match="last_fast_step"):
        Rounds(step)


# --- the pick rule ----------------------------------------------------------------------------------------


def quorums_of(system: QuorumSystem, phase: Phase) -> Iterator[frozenset[NodeId]]:
    for size in range(1, len(system.members) + 1):
        for nodes in combinations(system.members, size):
            if system.is_quorum(nodes, phase):
                yield frozenset(nodes)


def brute_choosable(votes: Mapping[NodeId, str | None], value: str, system: QuorumSystem) -> bool:
    """By the definition: some fast quorum of which all members that were asked voted for the value."""
    return any(
        all(votes[node] == value for node in quorum if node in votes)
        for quorum in quorums_of(system, Phase.FAST)
    )


@pytest.mark.parametrize("name", SYSTEMS)
def test_what_is_choosable_is_so_by_the_definition(name: str) -> None:
    system, seen = SYSTEMS[name], set[tuple[int, Freedom]]()
    for asked in quorums_of(system, Phase.ONE):
        nodes = sorted(asked)
        for cast in product((None, "v", "w", "x"), repeat=len(nodes)):
            votes = dict(zip(nodes, cast, strict=True))
            values = {value for value in cast if value is not None}
            found = {value for value in values if brute_choosable(votes, value, system)}
            assert len(found) <= 1  # PickUnique: by the way the quorums intersect
            for value in values:
                voters = [node for node in nodes if votes[node] == value]
                assert choosable(voters, asked, system) == (value in found)
            reports = {n: (BOTTOM if v is None else Ballot(2, 1), v) for n, v in votes.items()}
            picked = pick(reports, system, COORDINATED)
            # Ballot (2, 1, 0) is fast. No more is known of what was chosen below than that what was voted
            # for was safe.
            assert picked is not None
            assert picked.ballot == (Ballot(2, 1) if values else BOTTOM)
            if not values:
                assert (picked.freedom, picked.value) == (Freedom.FREE, None)
            elif len(values) == 1 or found:
                assert picked.freedom is Freedom.BOUND
                assert picked.value == next(iter(found or values))
            else:
                assert (picked.freedom, picked.value) == (Freedom.OPEN, min(values))
            seen.add((len(found), picked.freedom))
    assert {freedom for _, freedom in seen} == set(Freedom)


def test_the_most_frequent_value_is_not_the_one() -> None:
    # Of fast quorums {1, 2, 3} and {1, 2, 4}: w may have been chosen by 1, 2 and 4, and v by nobody.
    system = SYSTEMS["explicit"]
    fast = Ballot(1, 1)
    picked = pick({2: (fast, "w"), 3: (fast, "v"), 4: (fast, "v")}, system, COORDINATED)
    assert picked is not None
    assert picked.freedom is Freedom.OPEN  # 4 voted for v, so {1, 2, 4} did not choose w; and 3, so neither
    picked = pick({1: (fast, "w"), 2: (fast, "w")}, system, COORDINATED)
    assert picked is not None
    assert picked.value == "w"
    weighted = WeightedQuorums({1: 3, 2: 1, 3: 1, 4: 1}, 4, 4, 5)
    picked = pick({1: (fast, "w"), 2: (fast, "v"), 3: (fast, "w"), 4: (fast, "w")}, weighted, COORDINATED)
    assert picked is not None
    assert picked.value == "w"
    # Two of three votes are for v, and w is what {1, 4, 5} may have chosen.
    heavy = WeightedQuorums({1: 3, 2: 1, 3: 1, 4: 1, 5: 1}, 5, 5, 5)
    picked = pick({1: (fast, "w"), 2: (fast, "v"), 3: (fast, "v")}, heavy, COORDINATED)
    assert picked is not None
    assert (picked.freedom, picked.value) == (Freedom.BOUND, "w")


def test_a_single_value_binds_though_no_fast_quorum_can_have_voted_for_it() -> None:
    # v was chosen at (1, 1, 1). At (2, 2, 0), which is fast, node 2 was bound to it, and only node 1 heard
    # so. Of nodes 1, 2 and 3 one voted at (2, 2, 0): four of five can not have, and yet it must be v.
    high, low = Ballot(2, 2), Ballot(1, 1, 1)
    reports = {1: (high, "v"), 2: (low, "v"), 3: (low, "v")}
    assert not choosable([1], [1, 2, 3], SYSTEMS["5"])
    picked = pick(reports, SYSTEMS["5"], COORDINATED)
    assert picked == (Freedom.BOUND, "v", high)


def test_a_classic_ballot_binds_and_lower_ones_do_not_count() -> None:
    classic, fast = COORDINATED.classic(1, 1), Ballot(1, 1)
    reports = {1: (fast, "a"), 2: (fast, "a"), 3: (fast, "a"), 4: (classic, "b")}
    assert pick(reports, SYSTEMS["5"], COORDINATED) == (Freedom.BOUND, "b", classic)
    with pytest.raises(ProtocolBreach, match="OneValuePerBallot"):
        pick(reports | {3: (classic, "a")}, SYSTEMS["5"], COORDINATED)


def test_too_few_reports_say_nothing_and_strangers_do_not_count() -> None:
    fast = Ballot(1, 1)
    reports = {1: (fast, "a"), 2: (fast, "b"), 9: (Ballot(9, 9), "z")}
    assert pick(reports, SYSTEMS["5"], COORDINATED) is None
    picked = pick(reports | {3: (BOTTOM, None)}, SYSTEMS["5"], COORDINATED)
    assert picked == (Freedom.OPEN, "a", fast)


# --- collisions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_collision_is_seen_exactly_when_nothing_can_be_chosen_any_more(name: str) -> None:
    system = SYSTEMS[name]
    full = list(product("vwx", repeat=len(system.members)))
    for cast in product((None, "v", "w"), repeat=len(system.members)):
        known = {n: v for n, v in zip(system.members, cast, strict=True) if v is not None}
        possible = set[str]()
        for votes in full:
            if all(known.get(n, v) == v for n, v in zip(system.members, votes, strict=True)):
                for value in set(votes):
                    nodes = [n for n, v in zip(system.members, votes, strict=True) if v == value]
                    if system.is_quorum(nodes, Phase.FAST):
                        possible.add(value)
        assert set(may_be_chosen(known, system)) == possible & set(known.values())
        assert has_collided(known, system) == (bool(known) and not possible)


def test_recovery_is_of_the_next_ballot_only() -> None:
    votes = {1: "v", 2: "w", 3: "w"}
    found = recover(OPEN, votes, SYSTEMS["3"], COORDINATED)
    assert found is not None
    assert found.ballot == Ballot(0, 0, 1)
    assert found.pick == (Freedom.OPEN, "v", OPEN)
    assert recover(Ballot(0, 0, 1), votes, SYSTEMS["3"], COORDINATED) is None
    assert recover(OPEN, {1: "v"}, SYSTEMS["3"], COORDINATED) is None


def test_whoever_recovers_finds_the_same_where_something_was_chosen() -> None:
    system = SYSTEMS["5"]
    for votes in product("vw", repeat=5):
        chosen = [value for value in "vw" if votes.count(value) >= 4]
        if not chosen:
            continue
        for asked in quorums_of(system, Phase.ONE):
            found = recover(OPEN, {node: votes[node - 1] for node in asked}, system, UNCOORDINATED)
            assert found is not None
            assert found.pick.value == chosen[0]


def test_contention_turns_classic_and_fast_again() -> None:
    contention = Contention(2, 5.0)
    assert not contention.collided(1.0)
    contention.chose_fast()
    assert not contention.collided(2.0)
    assert contention.collided(3.0)
    assert contention.is_classic
    assert not contention.collided(4.0)
    assert not contention.quiet(8.9)
    assert contention.quiet_at_s == 9.0
    assert contention.quiet(9.0)
    assert not contention.is_classic
    assert not contention.quiet(20.0)
    assert contention.force(21.0)
    assert not contention.force(22.0)
    copy = contention.clone()
    assert copy.quiet(27.0)
    assert contention.is_classic
    assert copy.fingerprint() != contention.fingerprint()
    never = Contention(0, 1.0)
    assert not any(never.collided(float(second)) for second in range(100))


# --- counting -----------------------------------------------------------------------------------------------


def test_a_fast_quorum_of_one_ballot_and_value_is_needed() -> None:
    tally = Tally[str](SYSTEMS["5"], COORDINATED)
    assert tally.count(1, OPEN, "v") is None
    assert tally.count(2, OPEN, "v") is None
    assert tally.count(3, OPEN, "v") is None  # a majority is not enough
    assert tally.count(3, OPEN, "v") is None  # nor one that is heard twice
    assert tally.count(9, OPEN, "v") is None  # nor a stranger
    assert tally.count(4, OPEN, "w") is None
    assert tally.count(4, Ballot(1, 1), "v") is None  # nor votes of two ballots
    assert tally.count(5, OPEN, "v") == (OPEN, "v")
    assert tally.choice == (OPEN, "v")
    assert tally.highest == Ballot(1, 1)
    assert tally.votes(OPEN) == {1: "v", 2: "v", 3: "v", 4: "w", 5: "v"}


def test_a_classic_ballot_needs_a_phase_2_quorum() -> None:
    tally = Tally[str](SYSTEMS["5"], COORDINATED)
    classic = Ballot(0, 0, 1)
    assert tally.count(1, classic, "v") is None
    assert tally.count(2, classic, "v") is None
    with pytest.raises(ProtocolBreach, match="OneValuePerBallot"):
        tally.count(3, classic, "w")
    assert tally.count(3, classic, "v") == (classic, "v")


def test_a_second_vote_and_a_second_choice_are_breaches() -> None:
    tally = Tally[str](SYSTEMS["3"], COORDINATED)
    tally.count(1, OPEN, "v")
    with pytest.raises(ProtocolBreach, match="OneVotePerRound"):
        tally.count(1, OPEN, "w")
    tally.count(2, OPEN, "v")
    tally.count(3, OPEN, "v")
    tally.count(1, Ballot(1, 1, 1), "w")
    copy = tally.clone()
    assert copy.fingerprint() == tally.fingerprint()
    with pytest.raises(ProtocolBreach, match="Agreement"):
        tally.count(2, Ballot(1, 1, 1), "w")
    assert copy.fingerprint() != tally.fingerprint()


def test_a_tally_holds_no_more_than_so_many_ballots() -> None:
    tally = Tally[str](SYSTEMS["3"], COORDINATED)
    for round_ in range(1, 100):
        tally.count(1, Ballot(round_, 1), "v")
    assert tally.ballots == tuple(Ballot(round_, 1) for round_ in range(36, 100))
    assert tally.count(2, Ballot(1, 1, 7), "v") is None
    assert tally.highest == Ballot(99, 1)


# --- the acceptor -----------------------------------------------------------------------------------------


def test_the_first_value_is_voted_for_and_stays() -> None:
    acceptor = FastAcceptor(COORDINATED, b"d")
    assert acceptor.on_propose(b"v") == Accepted(b"d", OPEN, b"v")
    assert acceptor.on_propose(b"w") == Accepted(b"d", OPEN, b"v")
    assert acceptor.receive(3, Accept(b"d", OPEN, b"w")) == Accepted(b"d", OPEN, b"v")
    assert acceptor.receive(3, Accept(b"d", Ballot(0, 0, 1), b"w")) == Accepted(b"d", Ballot(0, 0, 1), b"w")
    # The open ballot is left behind: a proposal is answered with the vote where it stands now.
    assert acceptor.on_propose(b"x") == Accepted(b"d", Ballot(0, 0, 1), b"w")
    with pytest.raises(ProtocolBreach, match="OneValuePerBallot"):
        acceptor.receive(3, Accept(b"d", Ballot(0, 0, 1), b"v"))
    again = FastAcceptor(COORDINATED, b"d", acceptor.record())
    assert again.on_propose(b"x") == Accepted(b"d", Ballot(0, 0, 1), b"w")


def test_a_ballot_that_is_not_open_gets_no_votes_of_proposers() -> None:
    acceptor = FastAcceptor(COORDINATED)
    ballot = Ballot(1, 2)
    assert acceptor.receive(2, Prepare(b"", ballot)) == Promise(b"", ballot, BOTTOM, None)
    assert acceptor.on_propose(b"v") == Nack(b"", OPEN, ballot)
    assert acceptor.on_any(Ballot(0, 0, 0)) == Nack(b"", OPEN, ballot)
    assert acceptor.on_any(ballot) is None
    assert acceptor.on_propose(b"v") == Accepted(b"", ballot, b"v")
    assert acceptor.on_any(ballot) == Accepted(b"", ballot, b"v")
    assert acceptor.clone().on_propose(b"w") == Accepted(b"", ballot, b"v")


def test_no_older_any_closes_what_a_newer_one_opened() -> None:
    acceptor = FastAcceptor(COORDINATED)
    assert acceptor.on_any(Ballot(2, 1)) is None
    assert acceptor.on_any(Ballot(1, 2)) is None
    assert acceptor.on_propose(b"v") == Accepted(b"", Ballot(2, 1), b"v")


def test_ballots_that_there_are_not_are_refused() -> None:
    acceptor = FastAcceptor(COORDINATED)
    before = acceptor.record()
    for question in (Prepare(b"", Ballot(1, 1, 2)), Accept(b"", Ballot(1 << 48, 1), b"v")):
        with pytest.raises(ValueError, match="there is no ballot"):
            acceptor.receive(1, question)
    with pytest.raises(ValueError, match="Any opens a fast ballot"):
        acceptor.on_any(Ballot(1, 1, 1))
    assert acceptor.record() == before


def test_a_vote_alone_follows_the_promise_that_is_handed_in() -> None:
    vote = FastVote[str]()
    assert vote.cast_at(BOTTOM, OPEN, "v", COORDINATED)
    assert vote.cast_at(OPEN, OPEN, "w", COORDINATED)
    assert vote.accepted_value == "v"
    assert not vote.cast_at(Ballot(0, 0, 1), OPEN, "v", COORDINATED)
    assert vote.cast_at(OPEN, Ballot(0, 0, 1), "w", COORDINATED)
    with pytest.raises(ProtocolBreach):
        vote.cast_at(Ballot(0, 0, 1), Ballot(0, 0, 1), "v", COORDINATED)
