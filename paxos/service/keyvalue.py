"""The key-value machine that comes with the library: one dictionary, deterministic to the byte.

What it understands is in `keyvalue_requests`, what it answers in `keyvalue_answers`: modules of functions
from arguments to bytes and from bytes to results.

    machine.apply(keyvalue_requests.put(b"k", b"v"))
    keyvalue_answers.got(machine.query(keyvalue_requests.get(b"k")))        # b"v"

The replicated state is the keys, their values, and the *revision*: how many commands changed something.
That is a count and no name of a change: under a protocol that lets commands which do not conflict swap
places, all nodes count the same, but may number two such changes differently.  So no answer of a command
says a revision, and the last changes, which `changes` shows, are held by each node for itself and are in no
snapshot.  A node that was just restored holds none; who asks it for older ones is told that they are gone.

Nearly everything here runs for every command of a cluster.  A put, of which there are most, is read and
carried out in one function without another call of Python.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from paxos.command import MAX_COMMAND_BYTES, MAX_KEY_BYTES, Footprint, KeyRange
from paxos.command import NOTHING as TOUCHES_NOTHING
from paxos.errors import ConfigurationError
from paxos.service.keyvalue_answers import (
    DONE,
    MALFORMED,
    NO,
    NO_NUMBER,
    NOT_A_COMMAND,
    NOT_A_QUERY,
    OVERFLOW,
    TOO_LONG,
    YES,
    compacted_answer,
    items_answer,
    number_of,
    page_answer,
    ran_answer,
    value_answer,
)
from paxos.service.keyvalue_parts import Entry, HeldChanges, KeyOrder
from paxos.service.keyvalue_requests import (
    CAS,
    CHANGES,
    DELETE,
    GET,
    INCREMENT,
    MAX_DELTA,
    PUT,
    PUT_HEAD,
    PUT_KEY_END,
    SCAN,
    TRANSACTION,
    Changes,
    Simple,
    Transaction,
    delete,
    parse_cas,
    parse_changes,
    parse_scan,
    parse_simple,
    parse_transaction,
    put,
)
from paxos.service.keyvalue_snapshot import read_snapshot, snapshot_stream

__all__ = ["KeyValue"]

#: Beside its key and value, what one item adds to an answer at most.
_ITEM_BYTES: Final = 8
#: What a revision with one change adds beside them.
_REVISION_BYTES: Final = 24
#: Revisions that one look at the changes goes through, whether they are of its range or not.
_LOOK: Final = 4096
#: Commands up to this length are put together to be looked at; beyond, that costs more than it saves.
_CUT_TOGETHER_BYTES: Final = 1024

_ALL_KEYS: Final = KeyRange(b"", None)
# Called directly: a NamedTuple's own constructor is a Python function.
_footprint: Final[Callable[[type[Footprint], tuple[object, ...]], Footprint]] = tuple.__new__

#: Keys written in a transaction so far, and what they hold; None for deleted.
_Written = dict[bytes, bytes | None]


class _Refused(Exception):
    """Carries the answer of a refusal out of the middle of an operation, which changed nothing yet."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer


class KeyValue:
    """Keys and values: a `StateMachine` with scans, counters, transactions and a stream of changes.

    Args:
        changes_held: the most revisions that can be asked back for.
        changes_held_bytes: the most bytes of their requests.

    Both are of this node alone and may differ from node to node.

    Raises:
        ConfigurationError: a bound that is below 1.
    """

    __slots__ = ("_changes", "_data", "_order", "_other", "_remember", "_revision", "_small")

    def __init__(self, *, changes_held: int = 65_536, changes_held_bytes: int = 32 << 20) -> None:
        if changes_held < 1 or changes_held_bytes < 1:
            raise ConfigurationError(
                f"KeyValue: changes_held {changes_held!r} and changes_held_bytes {changes_held_bytes!r} "
                "must be at least 1"
            )
        self._data: dict[bytes, bytes] = {}
        self._revision = 0
        self._order = KeyOrder()
        self._changes: Final = HeldChanges(changes_held, changes_held_bytes)
        self._remember: Final[Callable[[Entry], None]] = self._changes.entries.append
        self._small: Final = self._changes.small_bytes
        self._other: Final[dict[int, Callable[[bytes], bytes]]] = {
            GET: self._get,
            DELETE: self._delete,
            CAS: self._cas,
            INCREMENT: self._increment,
            SCAN: self._scan,
            TRANSACTION: self._transaction,
            CHANGES: _no_command,
        }

    @property
    def revision(self) -> int:
        """How many commands changed something."""
        return self._revision

    def __len__(self) -> int:
        """How many keys there are."""
        return len(self._data)

    # ---- commands

    def apply(self, command: bytes) -> bytes:
        """Carry out a command. One that makes no sense is answered with a refusal; nothing is raised."""
        size = len(command)
        if PUT_HEAD < size <= MAX_COMMAND_BYTES and command[0] == PUT:
            end = PUT_HEAD + (command[1] << 8 | command[2])
            if PUT_HEAD < end <= size and end <= PUT_KEY_END:
                self._data[command[PUT_HEAD:end]] = command[end:]
                self._revision += 1
                self._remember(command)
                if size > self._small:
                    self._changes.weigh(self._revision, size)
                return DONE
            return MALFORMED
        if 1 < size <= MAX_COMMAND_BYTES:
            carry_out = self._other.get(command[0])
            if carry_out is not None:
                return carry_out(command)
        return MALFORMED

    def apply_many(self, commands: Sequence[bytes]) -> list[bytes]:
        """`apply` for one after another, faster: the answers in the same order."""
        answers: list[bytes] = []
        answer, apply, data, remember = answers.append, self.apply, self._data, self._remember
        small = min(self._small, MAX_COMMAND_BYTES)
        revision = self._revision
        for command in commands:
            size = len(command)
            if PUT_HEAD < size <= small and command[0] == PUT:
                end = PUT_HEAD + (command[1] << 8 | command[2])
                if PUT_HEAD < end <= size and end <= PUT_KEY_END:
                    data[command[PUT_HEAD:end]] = command[end:]
                    revision += 1
                    remember(command)
                    answer(DONE)
                    continue
            self._revision = revision
            answer(apply(command))
            revision = self._revision
        self._revision = revision
        return answers

    def _get(self, command: bytes) -> bytes:
        key = command[1:]
        return value_answer(self._data.get(key)) if len(key) <= MAX_KEY_BYTES else MALFORMED

    def _delete(self, command: bytes) -> bytes:
        key = command[1:]
        if len(key) > MAX_KEY_BYTES:
            return MALFORMED
        if self._data.pop(key, None) is None:
            return NO
        self._order.forget(key)
        self._changed(command)
        return YES

    def _cas(self, command: bytes) -> bytes:
        asked = parse_cas(command)
        if asked is None:
            return MALFORMED
        key, expected, value = asked
        if self._data.get(key) != expected:
            return NO
        if value is not None:
            self._data[key] = value
            self._changed(command)
        elif expected is not None:
            del self._data[key]
            self._order.forget(key)
            self._changed(command)
        return YES

    def _increment(self, command: bytes) -> bytes:
        asked = parse_simple(command)
        if asked is None:
            return MALFORMED
        written: _Written = {}
        try:
            answer, change = self._carry_out(asked, written)
        except _Refused as refused:
            return refused.answer
        self._write(written)
        self._changed(change)
        return answer

    def _transaction(self, command: bytes) -> bytes:
        asked = parse_transaction(command)
        if asked is None:
            return MALFORMED
        written: _Written = {}
        try:
            answer, changes = self._run(asked, written)
        except _Refused as refused:
            return refused.answer
        self._write(written)
        if changes:
            self._changed(tuple(changes))
        return answer

    def _run(self, asked: Transaction, written: _Written) -> tuple[bytes, list[bytes]]:
        """The answer of a transaction and the changes it makes; they are only in `written` yet."""
        find = self._data.get
        held = all(
            (find(key) is not None) if state is True else find(key) == state for key, state in asked.guards
        )
        answers: list[bytes] = []
        changes: list[bytes] = []
        answers_bytes = changes_bytes = 0
        for each in asked.then if held else asked.otherwise:
            answer, change = self._carry_out(each, written)
            answers.append(answer)
            answers_bytes += len(answer) + _ITEM_BYTES
            if change:
                changes.append(change)
                changes_bytes += len(change) + _ITEM_BYTES
            # A short command can ask for the same long value a thousand times.
            if max(answers_bytes, changes_bytes) > MAX_COMMAND_BYTES:
                raise _Refused(TOO_LONG)
        return ran_answer(held, answers), changes

    def _carry_out(self, asked: Simple, written: _Written) -> tuple[bytes, bytes]:
        """The answer of one operation of a transaction, and the change as a request; empty for none."""
        op, key, value, delta = asked
        if op == PUT:
            written[key] = value
            return DONE, put(key, value)
        found = written[key] if key in written else self._data.get(key)
        if op == GET:
            return value_answer(found), b""
        if op == DELETE:
            if found is None:
                return NO, b""
            written[key] = None
            return YES, delete(key)
        number = 0 if found is None else number_of(found)
        if number is None:
            raise _Refused(NO_NUMBER)
        number += delta
        if not -MAX_DELTA - 1 <= number <= MAX_DELTA:
            raise _Refused(OVERFLOW)
        text = written[key] = b"%d" % number
        return b"I" + text, put(key, text)

    def _write(self, written: _Written) -> None:
        data = self._data
        for key, value in written.items():
            if value is not None:
                data[key] = value
            elif data.pop(key, None) is not None:
                self._order.forget(key)

    def _changed(self, change: Entry) -> None:
        """Count a revision, and hold what it changed."""
        self._revision += 1
        self._remember(change)
        size = len(change) if isinstance(change, bytes) else sum(map(len, change)) + 64 * len(change)
        if size > self._small:
            self._changes.weigh(self._revision, size)

    # ---- queries

    def query(self, query: bytes) -> bytes:
        """Answer a get, a scan, a look at the changes, or a transaction that writes nothing."""
        op = query[0] if query else 0
        if op == CHANGES:
            looked_for = parse_changes(query)
            return MALFORMED if looked_for is None else self._look(looked_for)
        # A write that is malformed has no footprint, and is answered as the malformed thing it is.
        return NOT_A_QUERY if self.footprint(query).writes_something else self.apply(query)

    def _scan(self, command: bytes) -> bytes:
        asked = parse_scan(command)
        if asked is None:
            return MALFORMED
        data, limit = self._data, 2 * asked.limit
        flat: list[bytes] = []
        left = MAX_COMMAND_BYTES
        for key in self._order.keys(data, asked.low, asked.high):
            value = data[key]
            left -= len(key) + len(value) + _ITEM_BYTES
            # The first item always fits: it was a command once.
            if len(flat) == limit or (left < 0 and flat):
                return items_answer(flat, True)
            flat += (key, value)
        return items_answer(flat, False)

    def _look(self, asked: Changes) -> bytes:
        """The changes of whole revisions, from the first that was asked for."""
        now, oldest = self._revision, self._changes.oldest(self._revision)
        after, low, high, limit = asked
        if after is None:
            return page_answer(now, now, ())
        if after < oldest:
            return compacted_answer(oldest, now)
        if after > now:  # seen at a node that is ahead of this one
            return page_answer(after, now, ())
        revisions: list[tuple[int, list[bytes | None]]] = []
        upto, count, left = after, 0, MAX_COMMAND_BYTES
        for revision, entry in self._changes.after(after, now):
            flat: list[bytes | None] = []
            for key, value in _pairs(entry):
                if low <= key and (high is None or key < high):
                    flat += (key, value)
                    left -= len(key) + len(value or b"") + _REVISION_BYTES
            if flat:
                count += len(flat) // 2
                if revisions and (count > limit or left < 0):
                    break
                revisions.append((revision, flat))
            upto = revision
            if revision - after == _LOOK:
                break
        return page_answer(upto, now, revisions)

    # ---- footprints

    def footprint(self, command: bytes) -> Footprint:
        """The keys that a command or query reads and writes.

        Those of a transaction are of both branches, since which one runs is not in its bytes.  A look at the
        changes reads all keys there are.  What is no command touches nothing: it is refused in any state.
        """
        size = len(command)
        op = command[0] if 1 < size <= MAX_COMMAND_BYTES else 0
        if op == PUT:
            end = PUT_HEAD + (command[1] << 8 | command[2]) if size > PUT_HEAD else 0
            if PUT_HEAD < end <= size and end <= PUT_KEY_END:
                return _footprint(Footprint, ((), (command[PUT_HEAD:end],), (), (), False))
            return TOUCHES_NOTHING
        if op == GET and size <= 1 + MAX_KEY_BYTES:
            return _footprint(Footprint, ((command[1:],), (), (), (), False))
        if op in (DELETE, CAS, INCREMENT):
            one = parse_cas(command) if op == CAS else parse_simple(command)
            return TOUCHES_NOTHING if one is None else Footprint((one.key,), (one.key,))
        if op == TRANSACTION:
            several = parse_transaction(command)
            return TOUCHES_NOTHING if several is None else _footprint_of(several)
        scanned = parse_scan(command) if op == SCAN else None
        if scanned is not None:
            return Footprint((), (), (KeyRange(scanned.low, scanned.high),))
        # Every change moves the revision, and can push out the oldest one that is held.
        return TOUCHES_NOTHING if parse_changes(command) is None else Footprint((), (), (_ALL_KEYS,))

    def written_keys(self, commands: Sequence[bytes]) -> list[bytes] | None:
        """The key of each, if they are all puts, as most commands are; else None: `footprint` of many."""
        sizes = {*map(len, commands)}
        if len(sizes) == 1:
            cut = _keys_of_equal_puts(commands, sizes.pop())
            if cut is not None:
                return cut
        keys: list[bytes] = []
        add = keys.append
        for command in commands:
            size = len(command)
            if not PUT_HEAD < size <= MAX_COMMAND_BYTES or command[0] != PUT:
                return None
            end = PUT_HEAD + (command[1] << 8 | command[2])
            if not PUT_HEAD < end <= size or end > PUT_KEY_END:
                return None
            add(command[PUT_HEAD:end])
        return keys

    # ---- snapshots

    def snapshot(self) -> bytes:
        """The whole state, as one string: that of `snapshot_chunks`."""
        return b"".join(self.snapshot_chunks())

    def snapshot_chunks(self) -> Iterator[bytes]:
        """The state of this moment, in chunks of at most 64 KiB, while commands go on being applied.

        The dictionary is copied now, without its keys and values; they are put in order and encoded between
        the chunks, about half a millisecond for each. A chunk is empty when there is nothing to show for it
        yet.
        """
        return snapshot_stream(self._data.copy(), self._revision)

    def restore(self, snapshot: bytes) -> None:
        """Become what the snapshot says.

        Raises:
            RecordError: no snapshot of this machine, or damaged; the machine is as it was.
        """
        self.restore_chunks((snapshot,))

    def restore_chunks(self, chunks: Iterable[bytes]) -> None:
        """`restore` from chunks, however they are cut; not all of them are in memory at once.

        Raises:
            RecordError: see `restore`.
        """
        self._data, self._revision = read_snapshot(chunks)
        self._order = KeyOrder()
        self._changes.clear()


def _no_command(command: bytes) -> bytes:
    return NOT_A_COMMAND if parse_changes(command) is not None else MALFORMED


def _keys_of_equal_puts(commands: Sequence[bytes], size: int) -> list[bytes] | None:
    """The keys of commands of `size` bytes that are puts whose keys are equally long; else None.

    They are looked at and cut together: no step is for one of them.
    """
    head = commands[0][:PUT_HEAD]
    if not PUT_HEAD < size <= _CUT_TOGETHER_BYTES or head[0] != PUT:
        return None
    key_bytes = head[1] << 8 | head[2]
    rest = size - PUT_HEAD - key_bytes
    if not 0 < key_bytes <= MAX_KEY_BYTES or rest < 0:
        return None
    together, count = b"".join(commands), len(commands)
    for at in range(PUT_HEAD):
        if together[at::size] != head[at : at + 1] * count:
            return None
    return [*struct.Struct(f"{PUT_HEAD}x{key_bytes}s{rest}x" * count).unpack(together)]


def _footprint_of(asked: Transaction) -> Footprint:
    operations = (*asked.then, *asked.otherwise)
    reads = {key for key, _ in asked.guards} | {each.key for each in operations if each.op != PUT}
    writes = {each.key for each in operations if each.op != GET}
    return Footprint(tuple(sorted(reads)), tuple(sorted(writes)))


def _pairs(entry: Entry) -> list[tuple[bytes, bytes | None]]:
    """Keys and what they hold after a change; None for deleted."""
    pairs: list[tuple[bytes, bytes | None]] = []
    for request in (entry,) if isinstance(entry, bytes) else entry:
        # All of them were carried out, so there is nothing left to check.
        if request[0] == PUT:
            end = PUT_HEAD + (request[1] << 8 | request[2])
            pairs.append((request[PUT_HEAD:end], request[end:]))
        elif request[0] == DELETE:
            pairs.append((request[1:], None))
        else:
            cas = parse_cas(request)
            assert cas is not None, "it was one when it was applied"
            pairs.append((cas.key, cas.value))
    return pairs
