"""Tests that any state machine must pass before it is replicated.

`StateMachineConformance` holds every promise of `paxos.contract.StateMachine` as a test.  To try a machine of
your own, give it a class in a test file that pytest collects, and say what its commands look like:

    class TestMyMachine(StateMachineConformance):
        def make_machine(self):
            return MyMachine()

        def commands(self):
            return st.sampled_from([b"put a 1", b"put a 2", b"put b 1", b"get a"])

Commands that meet each other find the most: take few keys and few values.  A test whose examples gave nothing
to compare (no command that only reads, no two that do not conflict, no queries) is skipped and says so: it
has not passed.  How many examples are tried is Hypothesis's profile, or the class attribute `examples`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import hypothesis
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from paxos.command import Footprint
from paxos.contract import StateMachine

__all__ = ["StateMachineConformance"]

#: Commands in one example, at most.
_MOST: Final = 12
#: Runs of commands that are compared between processes.
_RUNS: Final = 30
_PROCESS_TIMEOUT_S: Final = 300.0
_NO_QUERIES: Final = "the machine has no queries: queries() gives None"

# What the other processes do: apply runs of commands, given as hexadecimal, and print what came of each. A
# set of bytes has another order in each of them.
_ELSEWHERE: Final = """
import importlib, json, sys
asked = json.loads(sys.stdin.read())
# Whatever the machine or its module prints goes elsewhere than the results.
answer, sys.stdout = sys.stdout, sys.stderr
sys.path[:] = asked["path"]
found = importlib.import_module(asked["module"])
for name in asked["name"].split("."):
    found = getattr(found, name)
results = []
for run in asked["runs"]:
    machine = found().make_machine()
    results.append([*(machine.apply(bytes.fromhex(each)).hex() for each in run), machine.snapshot().hex()])
print(json.dumps(results), file=answer)
"""


class StateMachineConformance:
    """Every promise of a state machine as a test, for pytest to collect in a subclass.

    A subclass says how a new machine is made, and what its commands are. Where equal states may have
    different snapshots it also says how to compare them.
    """

    #: Examples of each test; None for what Hypothesis's profile says.
    examples: int | None = None

    def make_machine(self) -> StateMachine:
        """A new machine, in its first state. Each call gives another one; they share nothing."""
        raise NotImplementedError(f"{type(self).__name__} says how its machine is made: define make_machine")

    def commands(self) -> SearchStrategy[bytes]:
        """Commands, as clients send them."""
        raise NotImplementedError(f"{type(self).__name__} says what commands there are: define commands")

    def queries(self) -> SearchStrategy[bytes] | None:
        """Queries, as clients send them; None for a machine without any.

        With None, commands and any bytes are asked as queries, and must leave the state as it is.
        """
        return None

    def state_of(self, machine: StateMachine) -> Hashable:
        """What is equal for equal states: its snapshot, unless a subclass knows better."""
        return machine.snapshot()

    # ---- deterministic

    def test_equal_commands_give_equal_machines(self) -> None:
        """Two machines that were given the same commands say the same and are the same."""

        def check(commands: Sequence[bytes]) -> None:
            one, other = self.make_machine(), self.make_machine()
            for command in commands:
                mine, its = one.apply(command), other.apply(command)
                assert isinstance(mine, bytes), f"the answer to {command!r} is {mine!r:.80}, not bytes"
                assert mine == its, f"two equal machines answered {command!r} differently"
            assert isinstance(one.snapshot(), bytes), "a snapshot is bytes"
            assert self.state_of(one) == self.state_of(other), "two machines differ after the same commands"

        self._for_all(check, self._many())

    def test_another_process_gives_equal_machines(self) -> None:
        """Nothing follows from what differs between processes, such as the order of a set."""
        kind = type(self)
        if "<locals>" in kind.__qualname__ or kind.__module__ == "__main__":
            _skip_unless(
                0, f"{kind.__qualname__} is inside a function, where another process does not find it"
            )
        runs: list[Sequence[bytes]] = []
        self._for_all(runs.append, self._many(), examples=_RUNS)
        asked = {
            "path": sys.path,
            "module": kind.__module__,
            "name": kind.__qualname__,
            "runs": [[command.hex() for command in run] for run in runs],
        }
        with ThreadPoolExecutor(2) as threads:
            first, second = threads.map(self._elsewhere, (asked, asked), ("1", "2"))
        for run, one, other in zip(runs, first, second, strict=True):
            for command, mine, its in zip(run, one, other, strict=False):
                assert mine == its, f"two processes answered {command!r} differently, after the same: {run}"
            assert one == other, f"two processes have different snapshots after the same commands: {run}"

    # ---- snapshots

    def test_a_restored_machine_goes_on_like_the_old_one(self) -> None:
        """A new one, and one that was in another state before."""

        def check(before: Sequence[bytes], other: Sequence[bytes], after: Sequence[bytes]) -> None:
            machine = self._run(before)
            snapshot = machine.snapshot()
            state = self.state_of(machine)
            new, used = self.make_machine(), self._run(other)
            new.restore(snapshot)
            used.restore(snapshot)
            assert self.state_of(new) == state, "a new machine restored a snapshot and is not the same"
            assert self.state_of(used) == state, "something of the state before is left after a restore"
            for command in after:
                expected = machine.apply(command)
                assert new.apply(command) == expected, f"restored, it answers {command!r} differently"
                assert used.apply(command) == expected, f"restored, it answers {command!r} differently"
            assert self.state_of(new) == self.state_of(machine) == self.state_of(used)

        self._for_all(check, self._many(), self._many(), self._many())

    def test_a_snapshot_changes_nothing(self) -> None:
        """Neither the machine it is taken of, nor does what that does later change the snapshot."""

        def check(before: Sequence[bytes], after: Sequence[bytes]) -> None:
            looked_at, alone = self._run(before), self._run(before)
            state, snapshot = self.state_of(self._run(before)), looked_at.snapshot()
            for command in after:
                assert looked_at.apply(command) == alone.apply(command), "a snapshot changed the machine"
            restored = self.make_machine()
            restored.restore(snapshot)
            assert self.state_of(restored) == state, "a snapshot is not of the state it was taken in"

        self._for_all(check, self._many(), self._many())

    # ---- footprints

    def test_a_footprint_follows_from_the_command_alone(self) -> None:
        """Not from the state, and finding it changes nothing; and asked of several at once it is the same."""

        def check(before: Sequence[bytes], command: bytes) -> None:
            machine = self._run(before)
            state = self.state_of(machine)
            footprint = machine.footprint(command)
            written_keys = getattr(machine, "written_keys", None)
            for some in ((command,), (*before, command)):
                keys = None if written_keys is None else written_keys(some)
                if keys is not None:
                    said = [Footprint((), (key,)) for key in keys]
                    each = [machine.footprint(body) for body in some]
                    assert said == each, f"{some!r}: `written_keys` says something else than `footprint`"
            assert isinstance(footprint, Footprint), f"the footprint of {command!r} is {footprint!r:.80}"
            assert footprint == self.make_machine().footprint(command), (
                f"{command!r}: it depends on the state"
            )
            assert self.state_of(machine) == state, f"finding the footprint of {command!r} changed the state"

        self._for_all(check, self._many(), self.commands())

    def test_what_declares_no_write_changes_nothing(self) -> None:
        """A command whose footprint only reads leaves the state as it is."""
        compared = 0

        def check(before: Sequence[bytes], command: bytes) -> None:
            nonlocal compared
            machine = self._run(before)
            state = self.state_of(machine)
            if not machine.footprint(command).writes_something:
                compared += 1
                machine.apply(command)
                assert self.state_of(machine) == state, f"{command!r} says that it only reads, and writes"

        self._for_all(check, self._many(), self.commands())
        _skip_unless(compared, "the footprint of every command that was tried writes something")

    def test_commands_that_do_not_conflict_commute(self) -> None:
        """In either order they give the same answers and the same state, wherever they meet in a run."""
        compared = 0

        def check(before: Sequence[bytes], one: bytes, other: bytes, after: Sequence[bytes]) -> None:
            nonlocal compared
            footprints = self.make_machine()
            if footprints.footprint(one).conflicts(footprints.footprint(other)):
                return
            compared += 1
            first, second = self._run(before), self._run(before)
            what = f"{one!r} and {other!r} do not conflict, by their footprints, but in the other order"
            to_one, to_other = first.apply(one), first.apply(other)
            assert second.apply(other) == to_other, f"{what} {other!r} is answered differently"
            assert second.apply(one) == to_one, f"{what} {one!r} is answered differently"
            assert self.state_of(first) == self.state_of(second), f"{what} give another state"
            for command in after:
                assert first.apply(command) == second.apply(command), f"{what} show in {command!r} later"

        self._for_all(check, self._many(), self.commands(), self.commands(), self._many())
        _skip_unless(compared, "all commands that were tried conflict with each other")

    # ---- queries

    def test_queries_change_nothing(self) -> None:
        """Neither what a snapshot shows nor what shows later; and their footprint writes nothing."""
        queries = self.queries()
        if queries is None:
            self._nothing_asked_changes_anything()
            return

        def check(before: Sequence[bytes], query: bytes, after: Sequence[bytes]) -> None:
            machine, alone = self._run(before), self._run(before)
            state = self.state_of(machine)
            answer = machine.query(query)
            assert isinstance(answer, bytes), f"the answer to query {query!r} is {answer!r:.80}, not bytes"
            assert self.state_of(machine) == state, f"query {query!r} changed the state"
            assert machine.query(query) == answer, f"query {query!r} was answered differently the second time"
            assert self._run(before).query(query) == answer, f"equal machines answer {query!r} differently"
            assert not machine.footprint(query).writes_something, f"query {query!r} declares that it writes"
            for command in after:
                same = machine.apply(command) == alone.apply(command)
                assert same, f"query {query!r} changed the state: {command!r} is answered differently later"
            assert self.state_of(machine) == self.state_of(alone), f"query {query!r} changed the state"

        self._for_all(check, self._many(), queries, self._many())

    def _nothing_asked_changes_anything(self) -> None:
        """Where nobody says what queries there are: commands, and any bytes, asked as a query."""
        answered = 0

        def check(before: Sequence[bytes], query: bytes, after: Sequence[bytes]) -> None:
            nonlocal answered
            machine, alone = self._run(before), self._run(before)
            state = self.state_of(machine)
            try:
                machine.query(query)
                answered += 1
            except Exception:  # not a query of this machine; it must not have changed anything either
                pass
            assert self.state_of(machine) == state, f"asked {query!r} as a query, its state changed"
            for command in after:
                same = machine.apply(command) == alone.apply(command)
                assert same, f"asked {query!r} as a query, it answers {command!r} differently later"

        self._for_all(check, self._many(), self.commands() | st.binary(max_size=8), self._many())
        _skip_unless(answered, f"{_NO_QUERIES}, and it answered none that was tried")

    def test_commands_beside_a_query_do_not_change_its_answer(self) -> None:
        """A command that does not conflict with a query is not seen by it."""
        queries = self.queries()
        if queries is None:
            _skip_unless(0, _NO_QUERIES)
            return
        compared = 0

        def check(before: Sequence[bytes], command: bytes, query: bytes) -> None:
            nonlocal compared
            machine = self._run(before)
            if not machine.footprint(command).conflicts(machine.footprint(query)):
                compared += 1
                answer = machine.query(query)
                machine.apply(command)
                again = machine.query(query)
                assert again == answer, f"{command!r} does not conflict with query {query!r}, but changed it"

        self._for_all(check, self._many(), self.commands(), queries)
        _skip_unless(compared, "all commands that were tried conflict with all queries")

    # ---- inside

    def _many(self) -> SearchStrategy[list[bytes]]:
        return st.lists(self.commands(), max_size=_MOST)

    def _run(self, commands: Sequence[bytes]) -> StateMachine:
        machine = self.make_machine()
        for command in commands:
            machine.apply(command)
        return machine

    def _for_all(
        self, check: Callable[..., object], *given: SearchStrategy[Any], examples: int | None = None
    ) -> None:
        """Try a check with what the strategies give.

        A function inside is given to Hypothesis, and not the test itself: that is one for all subclasses.
        """

        def example(data: tuple[Any, ...]) -> None:
            check(*data)

        most = self.examples if examples is None else examples
        chosen = hypothesis.settings(report_multiple_bugs=False)
        if most is not None:
            chosen = hypothesis.settings(chosen, max_examples=most)
        chosen(hypothesis.given(st.tuples(*given))(example))()

    def _elsewhere(self, asked: dict[str, Any], seed: str) -> list[list[str]]:
        """What came of the runs in another process, for which sets have another order."""
        done = subprocess.run(
            [sys.executable, "-c", _ELSEWHERE],
            input=json.dumps(asked),
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=_PROCESS_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"another process could not run the machine:\n{done.stderr}"
        results: list[list[str]] = json.loads(done.stdout)
        return results


def _skip_unless(compared: int, reason: str) -> None:
    """A test that compared nothing has not passed: it says why, as skipped."""
    if not compared:
        import pytest

        pytest.skip(reason)
