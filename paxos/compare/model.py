"""What a comparison found, as values: every table, picture and file is made of these.

A `Comparison` is one plan carried out: so many `Run`s, one for each protocol, conflict rate and load, each
with what was seen at every site.  All of it is a pure function of the plan, to the last digit, and none of it
tells how long the measuring took.  Times are milliseconds unless a name says otherwise, rounded to a
thousandth; a share is a percentage; what does not apply or is not known is None.

`to_json` gives what `paxos compare --json` prints, and `from_json` reads it again.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

import attrs

from paxos.errors import ConfigurationError

__all__ = [
    "CDF_PERCENTS",
    "Checked",
    "Comparison",
    "FaultEffect",
    "Latency",
    "Load",
    "Place",
    "Run",
    "Series",
    "Site",
    "Timeline",
]

#: At which percentages of the commands a `Latency.cdf` has its values.
CDF_PERCENTS: Final = (*(float(each) for each in range(101)), 99.5, 99.9)
#: The form of the JSON; it changes when what is there changes its meaning.
FORMAT: Final = 1


def rounded(value: float) -> float:
    """A figure as a comparison has it: to a thousandth."""
    return round(value, 3) + 0.0


@attrs.frozen
class Latency:
    """How long something took, over many commands, milliseconds.

    Args:
        p50, p90, p99: what so many percent of the commands do not exceed.
        max: the longest.
        mean: the arithmetic mean.
        cdf: what each of `CDF_PERCENTS` of the commands do not exceed, in that order.
    """

    p50: float
    p90: float
    p99: float
    max: float
    mean: float
    cdf: tuple[float, ...]

    @classmethod
    def of(cls, took_ms: Sequence[float]) -> "Latency | None":
        """Of what some commands took; None for no commands. The p-th percentile is one of the values."""
        if not took_ms:
            return None
        ordered = sorted(map(rounded, took_ms))

        def at(percent: float) -> float:
            # The least value that at least so many percent do not exceed.
            return ordered[max(-(-int(percent * 10) * len(ordered) // 1000) - 1, 0)]

        return cls(
            at(50),
            at(90),
            at(99),
            ordered[-1],
            rounded(sum(ordered) / len(ordered)),
            tuple(map(at, CDF_PERCENTS)),
        )

    def to_json(self) -> dict[str, object]:
        """As JSON carries it."""
        return {**attrs.asdict(self), "cdf": list(self.cdf)}


@attrs.frozen
class Load:
    """What one replica had to do, beside others.

    Args:
        received: messages of other replicas, for each command of the whole run.
        sent: messages to other replicas, likewise.
        bytes_sent: their bytes, likewise.
        syncs: of its disk, likewise.
        busy: percent of the time that its processor was at work, where messages take service time; else None.
    """

    received: float
    sent: float
    bytes_sent: float
    syncs: float
    busy: float | None

    def to_json(self) -> dict[str, object]:
        """As JSON carries it."""
        return attrs.asdict(self)


@attrs.frozen
class Site:
    """What the clients of one site saw, and what the replica there did.

    Args:
        name: of the site.
        commands: how many its clients had answered.
        commit_ms: from asking until the decision was known, of writes: what the client would have seen had it
            been answered at the commit. None for no writes.
        execute_ms: from asking until the answer, of writes.
        read_ms: from asking until the answer, of reads; None where there were none.
        bound_ms: the least that the topology allows a commit here, where nothing conflicts; None where the
            protocol does not say.
        commands_per_s: answered, a second of the run's busy middle.
        fast_share: percent of the commands committed here that took the fast path; None for a protocol that
            has none.
        slow: why the others did not: how many, by reason.
        load: what the replica here did.
        contended_bound_ms: as `bound_ms`, for the path that is taken where commands conflict or compete; None
            for a protocol that has one path.
    """

    name: str
    commands: int
    commit_ms: Latency | None
    execute_ms: Latency | None
    read_ms: Latency | None
    bound_ms: float | None
    commands_per_s: float
    fast_share: float | None
    slow: Mapping[str, int]
    load: Load
    contended_bound_ms: float | None = None

    def to_json(self) -> dict[str, object]:
        """As JSON carries it, without its name, which is the key."""
        return {
            "commands": self.commands,
            "commit_ms": _json(self.commit_ms),
            "execute_ms": _json(self.execute_ms),
            "read_ms": _json(self.read_ms),
            "bound_ms": self.bound_ms,
            "contended_bound_ms": self.contended_bound_ms,
            "commands_per_s": self.commands_per_s,
            "fast_share": self.fast_share,
            "slow": dict(self.slow),
            "load": self.load.to_json(),
        }


@attrs.frozen
class FaultEffect:
    """What one fault did to the service.

    Args:
        what: the fault, in words.
        at_s: when it began, seconds after clients did.
        until_s: when it was over; None for not before the end.
        unavailable_s: for each site, the longest time after the fault in which none of its clients was
            answered, seconds.
        all_unavailable_s: the same for clients anywhere.
        recover_s: seconds from the fault until commands were answered again, at every site whose clients were
            before, at four fifths of the rate before; None for not before the next fault or the end.
    """

    what: str
    at_s: float
    until_s: float | None
    unavailable_s: Mapping[str, float]
    all_unavailable_s: float
    recover_s: float | None

    def to_json(self) -> dict[str, object]:
        """As JSON carries it."""
        return {**attrs.asdict(self), "unavailable_s": dict(self.unavailable_s)}


@attrs.frozen
class Series:
    """What the clients of one site saw in each bucket of a time line.

    Args:
        commands: how many were answered in it.
        execute_p50_ms, execute_p99_ms: how long these had taken; None in a bucket without any.
    """

    commands: tuple[int, ...]
    execute_p50_ms: tuple[float | None, ...]
    execute_p99_ms: tuple[float | None, ...]

    def to_json(self) -> dict[str, object]:
        """As JSON carries it."""
        return {field: list(value) for field, value in attrs.asdict(self).items()}


@attrs.frozen
class Timeline:
    """A run cut into buckets of equal length, from when clients began.

    Args:
        bucket_s: how long each is, seconds.
        sites: what clients saw, by site.
    """

    bucket_s: float
    sites: Mapping[str, Series]

    def to_json(self) -> dict[str, object]:
        """As JSON carries it."""
        return {
            "bucket_s": self.bucket_s,
            "sites": {name: each.to_json() for name, each in self.sites.items()},
        }


@attrs.frozen
class Checked:
    """How it was made sure that a run did nothing wrong.

    Args:
        witness: what stood for the order of the commands, in words: no search was needed for it.
        operations: how many it explains.
        searched: how many operations more were explained by a full search.
    """

    witness: str
    operations: int
    searched: int = 0

    def to_json(self) -> dict[str, object]:
        """As JSON carries it."""
        return attrs.asdict(self)


@attrs.frozen
class Run:
    """One protocol under one load.

    Args:
        protocol: its name.
        conflict: percent of the commands that touch one key.
        clients: closed loop: clients at each site; None for open loop.
        rate: open loop: commands a second over all sites; None for closed loop.
        leader: the site that led when clients began; None for a protocol that nobody leads.
        sites: what was seen, site by site.
        commands: answered.
        unanswered: whose outcome their clients never knew.
        commit_ms, execute_ms: of the writes of all sites.
        bound_ms: the mean of the sites' bounds; None where there are none.
        commands_per_s: answered a second, in the busy middle of the run.
        fast_share: percent of the commits that took the fast path; None for a protocol that has none.
        slow: why the others did not: how many, by reason.
        messages_per_command: sent between replicas, those of time alone (heartbeats, gossip) included.
        messages_by_type: those, by type.
        bytes_per_command: their bytes.
        syncs_per_command: of all disks.
        components: commands that were carried out together because each depends on the others: how many
            components there were of each size over 1, seen at one replica.
        virtual_s: how long the run took, from when clients began, virtual seconds.
        faults: what each fault did, in order of time.
        timeline: the run, bucket by bucket.
        checked: how the history was judged.
        read_ms: from asking until the answer, of the reads of all sites; None where there were none.
    """

    protocol: str
    conflict: float
    clients: int | None
    rate: float | None
    leader: str | None
    sites: tuple[Site, ...]
    commands: int
    unanswered: int
    commit_ms: Latency | None
    execute_ms: Latency | None
    bound_ms: float | None
    commands_per_s: float
    fast_share: float | None
    slow: Mapping[str, int]
    messages_per_command: float
    messages_by_type: Mapping[str, float]
    bytes_per_command: float
    syncs_per_command: float
    components: Mapping[int, int]
    virtual_s: float
    faults: tuple[FaultEffect, ...]
    timeline: Timeline
    checked: Checked
    read_ms: Latency | None = None

    @property
    def site(self) -> Mapping[str, Site]:
        """The sites by name."""
        return {each.name: each for each in self.sites}

    @property
    def contended_bound_ms(self) -> float | None:
        """The mean of the sites' bounds of the path for conflicts; None where there are none."""
        found = [each.contended_bound_ms for each in self.sites if each.contended_bound_ms is not None]
        return rounded(sum(found) / len(found)) if found else None

    def to_json(self) -> dict[str, object]:
        """As JSON carries it."""
        return {
            "protocol": self.protocol,
            "conflict": self.conflict,
            "clients": self.clients,
            "rate": self.rate,
            "leader": self.leader,
            "sites": {each.name: each.to_json() for each in self.sites},
            "commands": self.commands,
            "unanswered": self.unanswered,
            "commit_ms": _json(self.commit_ms),
            "execute_ms": _json(self.execute_ms),
            "read_ms": _json(self.read_ms),
            "bound_ms": self.bound_ms,
            "commands_per_s": self.commands_per_s,
            "fast_share": self.fast_share,
            "slow": dict(self.slow),
            "messages_per_command": self.messages_per_command,
            "messages_by_type": dict(self.messages_by_type),
            "bytes_per_command": self.bytes_per_command,
            "syncs_per_command": self.syncs_per_command,
            "components": {str(size): times for size, times in self.components.items()},
            "virtual_s": self.virtual_s,
            "faults": [each.to_json() for each in self.faults],
            "timeline": self.timeline.to_json(),
            "checked": self.checked.to_json(),
        }


@attrs.frozen
class Place:
    """Where the replicas are.

    Args:
        name: of the topology.
        sites: the sites' names; one replica is at each.
        rtt_ms: there and back, row by row, milliseconds; symmetric.
        leader: the site that leads where the protocol has a leader: named, or the best.
        source: where the distances come from, in words; empty for nothing to say.
    """

    name: str
    sites: tuple[str, ...]
    rtt_ms: tuple[tuple[float, ...], ...]
    leader: str
    source: str = ""


@attrs.frozen
class Comparison:
    """One plan, carried out.

    Args:
        place: where the replicas are.
        seed: of the choices.
        inputs: all else that was asked for, as JSON carries it: `paxos.compare.Plan` says what each is.
        runs: in order of protocol, conflict rate and load.
    """

    place: Place
    seed: int
    inputs: Mapping[str, Any]
    runs: tuple[Run, ...]

    def find(self, protocol: str, conflict: float | None = None, clients: int | None = None) -> Run:
        """The first run of a protocol, of this conflict rate and of so many clients where they are given.

        Raises:
            KeyError: there is none.
        """
        for run in self.runs:
            if (
                run.protocol == protocol
                and conflict in (None, run.conflict)
                and clients in (None, run.clients)
            ):
                return run
        raise KeyError(f"no run of {protocol!r} at {conflict} % conflicts and {clients} clients")

    def to_json(self) -> dict[str, object]:
        """As JSON carries it."""
        return {
            "format": FORMAT,
            "topology": self.place.name,
            "sites": list(self.place.sites),
            "rtt_ms": [list(row) for row in self.place.rtt_ms],
            "leader": self.place.leader,
            "source": self.place.source,
            "seed": self.seed,
            "inputs": dict(self.inputs),
            "runs": [run.to_json() for run in self.runs],
        }

    def dumps(self) -> str:
        """The JSON text: the same for the same inputs, byte for byte."""
        return json.dumps(self.to_json(), ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, data: object) -> Self:
        """From what `to_json` gave, or the text of it.

        Raises:
            ConfigurationError: it is no comparison, or of another format; the message says where.
        """
        if isinstance(data, str | bytes):
            try:
                data = json.loads(data)
            except (ValueError, RecursionError) as error:
                raise ConfigurationError(f"comparison: not JSON: {error}") from error
        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            raise ConfigurationError(
                f"comparison: not of format {FORMAT}, which `paxos compare --json` writes"
            )
        try:
            place = Place(
                data["topology"],
                tuple(data["sites"]),
                tuple(map(tuple, data["rtt_ms"])),
                data["leader"],
                data["source"],
            )
            runs = tuple(map(_run_from, data["runs"]))
            return cls(place, data["seed"], data["inputs"], runs)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigurationError(f"comparison: {type(error).__name__}: {error}") from error


def _json(latency: Latency | None) -> dict[str, object] | None:
    return None if latency is None else latency.to_json()


def _latency_from(data: Any) -> Latency | None:
    return None if data is None else Latency(**{**data, "cdf": tuple(data["cdf"])})


def _site_from(name: str, data: Any) -> Site:
    latencies = {each: _latency_from(data[each]) for each in ("commit_ms", "execute_ms", "read_ms")}
    return Site(**{**data, **latencies, "name": name, "load": Load(**data["load"])})


def _timeline_from(data: Any) -> Timeline:
    series = {
        name: Series(**{field: tuple(value) for field, value in each.items()})
        for name, each in data["sites"].items()
    }
    return Timeline(data["bucket_s"], series)


def _run_from(data: Any) -> Run:
    changed = {
        "sites": tuple(_site_from(name, each) for name, each in data["sites"].items()),
        "commit_ms": _latency_from(data["commit_ms"]),
        "execute_ms": _latency_from(data["execute_ms"]),
        "read_ms": _latency_from(data.get("read_ms")),
        "components": {int(size): times for size, times in data["components"].items()},
        "faults": tuple(FaultEffect(**each) for each in data["faults"]),
        "timeline": _timeline_from(data["timeline"]),
        "checked": Checked(**data["checked"]),
    }
    return Run(**{**data, **changed})
