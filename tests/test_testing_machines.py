"""The suite for state machines: a good one passes, and one for each broken promise is noticed."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from paxos.command import ALL, Footprint
from paxos.contract import StateMachine
from paxos.testing import StateMachineConformance

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once


class Shelf:
    """A few named numbers: `put k 1`, `add k 1`, `get k`, `clear`; it keeps all promises."""

    def __init__(self) -> None:
        self.values: dict[str, int] = {}

    def apply(self, command: bytes) -> bytes:
        verb, *words = command.decode().split()
        if verb == "clear":
            self.values.clear()
            return b"ok"
        key = words[0]
        if verb == "put":
            self.values[key] = int(words[1])
        elif verb == "add":
            self.values[key] = self.values.get(key, 0) + int(words[1])
        return str(self.values.get(key)).encode()

    def footprint(self, command: bytes) -> Footprint:
        verb, *words = command.split()
        if verb == b"clear":
            return ALL
        if verb == b"get":
            return Footprint.of(reads=[words[0]])
        return Footprint.of(reads=[words[0]], writes=[words[0]])

    def query(self, query: bytes) -> bytes:
        return str(self.values.get(query.decode().split()[1])).encode()

    def snapshot(self) -> bytes:
        return json.dumps(self.values, sort_keys=True).encode()

    def restore(self, snapshot: bytes) -> None:
        self.values = json.loads(snapshot)


class ShelfConformance(StateMachineConformance):
    machine: type[Any] = Shelf

    def make_machine(self) -> StateMachine:
        machine: StateMachine = self.machine()
        return machine

    def commands(self) -> SearchStrategy[bytes]:
        return st.sampled_from(
            [b"put a 1", b"put a 2", b"put b 1", b"add a 1", b"add b 2", b"get a", b"get b", b"clear"]
        )

    def queries(self) -> SearchStrategy[bytes]:
        return st.sampled_from([b"get a", b"get b"])


class TestShelfConforms(ShelfConformance):
    pass


class TestWithoutQueriesConforms(ShelfConformance):
    examples = 10

    def queries(self) -> None:  # type: ignore[override]
        return None


class _Talkative(Shelf):
    """It prints while it works, which is no fault of it."""

    def __init__(self) -> None:
        super().__init__()
        print("a shelf")


class TestTalkativeConforms(ShelfConformance):
    machine = _Talkative
    examples = 5


# --- broken ones -------------------------------------------------------------------------------------


class _Counting(Shelf):
    """All machines of a process share a count."""

    count = 0

    def apply(self, command: bytes) -> bytes:
        _Counting.count += 1
        return super().apply(command) + b" %d" % _Counting.count


class _Unordered(Shelf):
    """Says its keys in the order of a set of bytes, which differs from process to process."""

    def apply(self, command: bytes) -> bytes:
        super().apply(command)
        return b" ".join({each.encode() * 5 for each in [*self.values, "c", "d", "e", "f"]})


class _Forgetful(Shelf):
    """A snapshot has only what is not small."""

    def snapshot(self) -> bytes:
        return json.dumps({key: value for key, value in self.values.items() if value > 1}).encode()


class _Merging(Shelf):
    """A restore leaves what was there before."""

    def restore(self, snapshot: bytes) -> None:
        self.values.update(json.loads(snapshot))


class _Consuming(Shelf):
    """Taking a snapshot empties it."""

    def snapshot(self) -> bytes:
        snapshot = super().snapshot()
        self.values.clear()
        return snapshot


class _Undeclared(Shelf):
    """`put` clears the others, and says that it writes only its own key: it does not commute."""

    def apply(self, command: bytes) -> bytes:
        if command.startswith(b"put"):
            self.values.clear()
        return super().apply(command)


class _Hasty(Shelf):
    """Asked of several commands at once it says something else than of each."""

    def written_keys(self, commands: Sequence[bytes]) -> list[bytes]:
        return [command[:1] for command in commands]


class _Peeking(Shelf):
    """`add` answers with a sum over all keys, and says that it reads its own only."""

    def apply(self, command: bytes) -> bytes:
        answer = super().apply(command)
        return str(sum(self.values.values())).encode() if command.startswith(b"add") else answer


class _ReadsThatWrite(Shelf):
    """A `get` of what is absent makes it."""

    def apply(self, command: bytes) -> bytes:
        if command.startswith(b"get"):
            self.values.setdefault(command.decode().split()[1], 7)
        return super().apply(command)


class _Moody(Shelf):
    """The footprint follows from the state."""

    def footprint(self, command: bytes) -> Footprint:
        return ALL if self.values else super().footprint(command)


class _Meddling(Shelf):
    """A query changes the state."""

    def query(self, query: bytes) -> bytes:
        self.values["asked"] = self.values.get("asked", 0) + 1
        return super().query(query)


class _Counted(Shelf):
    """A query changes what no snapshot shows, and only later answers do."""

    asked = 0

    def query(self, query: bytes) -> bytes:
        self.asked += 1
        return super().query(query)

    def apply(self, command: bytes) -> bytes:
        answer = super().apply(command)
        return answer + b"!" * self.asked


class _FarSighted(Shelf):
    """A query sees all keys, and says that it reads one."""

    def query(self, query: bytes) -> bytes:
        return str(sorted(self.values)).encode()


BROKEN: Mapping[type[Shelf], str] = {
    _Counting: "test_equal_commands_give_equal_machines",
    _Unordered: "test_another_process_gives_equal_machines",
    _Forgetful: "test_a_restored_machine_goes_on_like_the_old_one",
    _Merging: "test_a_restored_machine_goes_on_like_the_old_one",
    _Consuming: "test_a_snapshot_changes_nothing",
    _Undeclared: "test_commands_that_do_not_conflict_commute",
    _Peeking: "test_commands_that_do_not_conflict_commute",
    _ReadsThatWrite: "test_what_declares_no_write_changes_nothing",
    _Moody: "test_a_footprint_follows_from_the_command_alone",
    _Hasty: "test_a_footprint_follows_from_the_command_alone",
    _Meddling: "test_queries_change_nothing",
    _Counted: "test_queries_change_nothing",
    _FarSighted: "test_commands_beside_a_query_do_not_change_its_answer",
}


class UnorderedConformance(ShelfConformance):
    """At the top of a module, where another process finds it."""

    machine = _Unordered


@pytest.mark.parametrize(
    ("machine", "test"), BROKEN.items(), ids=lambda value: getattr(value, "__name__", value)
)
def test_a_broken_promise_is_noticed(machine: type[Shelf], test: str) -> None:
    suite = UnorderedConformance() if machine is _Unordered else ShelfConformance()
    suite.machine = machine
    with pytest.raises(AssertionError):
        getattr(suite, test)()


def test_a_restored_machine_that_differs_later_is_noticed() -> None:
    class Lazy(Shelf):
        """What is not in the snapshot shows only in what it answers later."""

        secret = 0

        def apply(self, command: bytes) -> bytes:
            self.secret += 1
            return super().apply(command) + str(self.secret).encode()

    suite = ShelfConformance()
    suite.machine = Lazy
    with pytest.raises(AssertionError, match="answers"):
        suite.test_a_restored_machine_goes_on_like_the_old_one()


def test_equal_states_may_have_different_snapshots_where_the_subclass_compares_them() -> None:
    class Ordered(Shelf):
        """A snapshot in the order in which keys came."""

        def snapshot(self) -> bytes:
            return json.dumps(self.values).encode()

    suite = ShelfConformance()
    suite.machine = Ordered
    with pytest.raises(AssertionError, match="another state"):
        suite.test_commands_that_do_not_conflict_commute()

    class Compared(ShelfConformance):
        machine = Ordered

        def state_of(self, machine: StateMachine) -> Any:
            return json.dumps(json.loads(machine.snapshot()), sort_keys=True)

    Compared().test_commands_that_do_not_conflict_commute()


_COMPARING = {
    "test_what_declares_no_write_changes_nothing": "every command that was tried writes something",
    "test_commands_that_do_not_conflict_commute": "all commands that were tried conflict with each other",
    "test_commands_beside_a_query_do_not_change_its_answer": "tried conflict with all queries",
}


@pytest.mark.parametrize(("test", "reason"), _COMPARING.items())
def test_what_compared_nothing_is_skipped_and_has_not_passed(test: str, reason: str) -> None:
    class Jealous(Shelf):
        """Every command says that it reads and writes all."""

        def footprint(self, command: bytes) -> Footprint:
            return ALL

    suite = ShelfConformance()
    suite.examples = 20
    suite.machine = Jealous
    with pytest.raises(pytest.skip.Exception, match=reason):
        getattr(suite, test)()
    suite.machine = Shelf
    getattr(suite, test)()


@pytest.mark.parametrize(
    "test", ["test_queries_change_nothing", "test_commands_beside_a_query_do_not_change_its_answer"]
)
def test_without_queries_their_tests_are_skipped(test: str) -> None:
    suite = TestWithoutQueriesConforms()
    suite.machine = _Mute
    with pytest.raises(pytest.skip.Exception, match=r"the machine has no queries: queries\(\) gives None"):
        getattr(suite, test)()


class _Mute(Shelf):
    """It has no queries."""

    def query(self, query: bytes) -> bytes:
        raise NotImplementedError("there are no queries")


class _Touching(Shelf):
    """What it is asked about is there from then on; it says so only where that is no query of its own."""

    def query(self, query: bytes) -> bytes:
        self.values.setdefault(query.decode(errors="replace"), 0)
        raise LookupError(query)


@pytest.mark.parametrize("machine", [_Meddling, _Counted, _Touching])
def test_a_query_that_changes_the_state_is_noticed_where_nobody_says_what_queries_there_are(
    machine: type[Shelf],
) -> None:
    suite = TestWithoutQueriesConforms()
    suite.machine = machine
    with pytest.raises(AssertionError, match=r"asked b'.*' as a query, (its state changed|it answers)"):
        suite.test_queries_change_nothing()


def test_a_suite_without_a_subject_says_what_is_missing() -> None:
    with pytest.raises(NotImplementedError, match="define make_machine"):
        StateMachineConformance().make_machine()
    with pytest.raises(NotImplementedError, match="define commands"):
        StateMachineConformance().test_equal_commands_give_equal_machines()
