"""The mistakes that are planted in the service of every log, each as small as it was when somebody made it.

See `tests.mutants.patches` for what a patch is. The service runs above Multi-Paxos here.
"""

from typing import Final

from paxos.check.walk import Walk
from paxos.service import LogSettings
from tests.mutants.patches import Ground, Mutant, Patch

__all__ = ["SERVICE"]

#: What shows when a node holds another state than the log gives.
_STATE: Final = ("AtMostOnce", "StateExact", "SnapshotExact", "AnswerExact", "Linearizability")

_SNAPSHOTS: Final = LogSettings(marker_requests=2, piece_s=0.0)
#: Clients that ask again, nodes that come and go, and snapshots all the time.
_AGAIN: Final = Ground(
    Walk(
        moves=600, operations=14, reads=0.1, submit=0.1, tick=0.06, crash=0.015, restart=0.1, disorder=0.4,
        drop=0.02, settle=False,
    ),
    log=_SNAPSHOTS,
)  # fmt: skip


def _mutant(name: str, sentence: str, oracles: tuple[str, ...], *patches: Patch, **more: object) -> Mutant:
    return Mutant(name, sentence, oracles, patches, protocol="multipaxos", **more)  # type: ignore[arg-type]


#: The service of a log: clients, snapshots, answers.
SERVICE: Final = (
    _mutant(
        "retry_applied_twice",
        "A request that comes again is carried out again.",
        _STATE,
        Patch(
            "service.sessions",
            "        if sequence > session.highest or",
            "        if sequence <= session.highest:\n"
            "            return apply(sequence, bodies)\n"
            "        if sequence > session.highest or",
        ),
    ),
    _mutant(
        "acknowledged_means_applied",
        "What a client has acknowledged counts as carried out, whether it was or not.",
        (*_STATE, "ResultKept", "Durability"),
        Patch(
            "service.sessions",
            "        session.last = self.markers\n        if acknowledged",
            "        session.last = self.markers\n"
            "        if sequence <= acknowledged + 1 and acknowledged:\n"
            "            session.highest = max(session.highest, sequence)\n"
            "            session.settled = [[1, sequence]]\n"
            "        if acknowledged",
        ),
    ),
    _mutant(
        "table_pruned_by_a_clock",
        "A node forgets a client that was idle for a second of its own clock.",
        _STATE,
        Patch(
            "service.log",
            "        since = self._since_marker\n        since[0]",
            "        heard = self.__dict__.setdefault('_heard', {})\n"
            "        heard[run.client] = self._now.monotonic_s\n"
            "        for client in [each for each in heard if heard[each] < self._now.monotonic_s - 1.0]:\n"
            "            del heard[client]\n"
            "            self.sessions._sessions.pop(client, None)\n"
            "        since = self._since_marker\n        since[0]",
        ),
        ground=_AGAIN,
        budget=2000,
    ),
    _mutant(
        "table_pruned_between_markers",
        "The table holds the last two clients, whenever there was a marker.",
        _STATE,
        Patch(
            "service.sessions",
            "        session.last = self.markers\n        if acknowledged",
            "        session.last = self.markers\n"
            "        self._sessions.pop(client)\n"
            "        for old in list(self._sessions)[:-1]:\n"
            "            del self._sessions[old]\n"
            "        self._sessions[client] = session\n"
            "        if acknowledged",
        ),
        ground=_AGAIN,
        budget=2000,
    ),
    _mutant(
        "forgotten_client_served",
        "A client that was forgotten is taken for a new one.",
        ("AtMostOnce", "StateExact"),
        Patch(
            "service.sessions",
            "            if not self.horizon <= birth <= self.markers:\n",
            "            if False:\n",
        ),
        directed="a_forgotten_client",
    ),
    _mutant(
        "digest_ignored",
        "A number that was used for two commands stands for the first that was applied.",
        ("StateExact", "AtMostOnce"),
        Patch(
            "service.sessions",
            "        if held.digests[_DIGEST * index : _DIGEST * (index + 1)] == digest:\n",
            "        if True:\n",
        ),
        directed="a_number_used_twice",
    ),
    _mutant(
        "snapshot_without_sessions",
        "A snapshot holds the machine, and not which requests were carried out.",
        ("AtMostOnce", "SnapshotExact", "StateExact"),
        Patch(
            "service.sessions",
            "        for client, session in sorted(self._sessions.items(), key=_client):\n",
            "        for client, session in sorted(list(self._sessions.items())[:0], key=_client):\n",
        ),
        ground=_AGAIN,
        budget=2000,
    ),
    _mutant(
        "compacted_before_the_snapshot_is_durable",
        "The log is forgotten when a snapshot is begun, not when it is on disk.",
        (*_STATE, "AppliedContiguous"),
        Patch(
            "service.catch_up",
            "        self._writer = SnapshotWriter(mark, part, sessions, machine)\n",
            "        self._writer = SnapshotWriter(mark, part, sessions, machine)\n"
            "        self._compact = mark\n",
        ),
        ground=_AGAIN._replace(log=LogSettings(marker_requests=2, piece_s=0.05)),
        budget=2000,
    ),
    _mutant(
        "snapshot_of_the_end",
        "A snapshot is of the state when it is finished, under the mark at which it was begun.",
        _STATE,
        Patch(
            "service.snapshots",
            "        for chunk in self._source:\n            if chunk is None:\n",
            "        if not self._chunks:\n"
            "            self._source = self._late()\n"
            "        for chunk in self._source:\n"
            "            if chunk is None:\n",
        ),
        Patch(
            "service.snapshots",
            "        self._source = snapshot_steps(mark, part, sessions, machine)\n",
            "        self._source = iter(())\n"
            "        header = [_FORMAT, sessions.markers, mark, part, 0]\n"
            "        table = list(sessions.pack())\n"
            "        header[-1] = len(table)\n"
            "        self._late = lambda: _pieces(header, table, _machine_chunks(machine))\n",
        ),
        ground=_AGAIN._replace(log=LogSettings(marker_requests=2, piece_s=0.05)),
        budget=2000,
    ),
    _mutant(
        "install_goes_backwards",
        "A node becomes what a snapshot says, though it has applied more by itself meanwhile.",
        (*_STATE, "AppliedContiguous"),
        Patch(
            "service.catch_up",
            "        if arrived is None or number <= markers:",
            "        if arrived is None:",
        ),
        Patch(
            "service.catch_up",
            "        if offer.number <= markers or self._finishing is not None:\n",
            "        if self._finishing is not None:\n",
        ),
        Patch(
            "service.catch_up",
            "        if chunk.number <= markers or chunk.data is None:\n",
            "        if chunk.data is None:\n",
        ),
        Patch(
            "service.catch_up",
            "        if self._incoming is not None and self._incoming.number <= sessions.markers:\n",
            "        if False:\n",
        ),
        ground=_AGAIN,
        budget=4000,
    ),
    _mutant(
        "ready_before_applied",
        "A query is answered when its place in the order is known, before the node has come there.",
        ("ReadFresh", "Linearizability"),
        Patch(
            "service.queries",
            "            if mark not in (None, 0) and (applied is None or mark > applied):\n",
            "            if False:\n",
        ),
        ground=Ground(
            Walk(moves=600, operations=16, reads=0.5, submit=0.1, tick=0.06, disorder=0.8, settle=False)
        ),
        budget=4000,
    ),
    _mutant(
        "answer_before_decided",
        "A client is told that its put is done as soon as it has come.",
        ("Durability", "RealTime", "ReadFresh"),
        Patch(
            "service.log",
            "        gathered = self._gathered\n",
            "        if all(body[:1] == b'p' for body in run.bodies):\n"
            "            self.answers.append((client, Results(run.client, run.sequence, [b'O'])))\n"
            "        gathered = self._gathered\n",
        ),
    ),
)
