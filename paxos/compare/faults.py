"""What goes wrong in a comparison, the same for every protocol: faults as data, and presets of them.

A fault is at a site, or at `leader`: the site that the plan has lead, whether or not a protocol has a leader.
Times are counted from when clients begin.  A preset is named, with a site behind it where that can be chosen:
`leader-killed`, `region-cut:EU`, `lossy-link:CA-EU`.
"""

import json
import tomllib
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import attrs

from paxos.compare.model import FaultEffect, Place, rounded
from paxos.compare.places import node_of
from paxos.errors import ConfigurationError
from paxos.sim import Crash, Cut, Faults, Pause, SlowNode, fields
from paxos.sim.meter import LossyLink

__all__ = ["PRESETS", "Fault", "effects_of", "find_faults", "links_of", "simulated"]

_KINDS: Final = ("crash", "cut", "pause", "slow", "lossy")
#: The site that the plan has lead.
LEADER: Final = "leader"
_MAX_FAULTS: Final = 100
_MAX_BYTES: Final = 1 << 20
#: A service counts as recovered at this share of what it did before.
_RECOVERED: Final = 0.8
#: The rate is looked at over at least so many seconds, and at least so many commands at the slowest site.
_WINDOW_S: Final = 0.5
_WINDOW_COMMANDS: Final = 20
_STEP_S: Final = 0.05


@attrs.frozen
class Fault:
    """One thing that goes wrong.

    Args:
        kind: "crash" (the replica dies, and starts again after `for_s`), "cut" (nothing goes between its site
            and the others), "pause" (it stands still), "slow" (each message takes it `service_ms` more),
            "lossy" (`percent` of the messages between its site and `to` are lost, both ways).
        site: where; or "leader".
        at_s: when, seconds after clients began.
        for_s: for how long, seconds.
        service_ms: of "slow".
        percent: of "lossy".
        to: of "lossy": the other site; "leader" is one, too.

    Raises:
        ConfigurationError: a field has a wrong type or is out of range; the message names it.
    """

    kind: str = attrs.field(validator=fields.choice(*_KINDS))
    site: str = attrs.field(default=LEADER, validator=fields.text)
    at_s: float = attrs.field(default=0.0, validator=fields.number(0, 10_000, unit="seconds"))
    for_s: float = attrs.field(default=5.0, validator=fields.number(0.001, 10_000, unit="seconds"))
    service_ms: float = attrs.field(default=20.0, validator=fields.number(0, 10_000, unit="ms"))
    percent: float = attrs.field(default=20.0, validator=fields.number(0.1, 100, unit="percent"))
    to: str = attrs.field(default=LEADER, validator=fields.text)

    def __str__(self) -> str:
        what = {
            "crash": f"the replica at {self.site} dies, and comes back after {self.for_s:g} s",
            "cut": f"{self.site} is cut off for {self.for_s:g} s",
            "pause": f"the replica at {self.site} stands still for {self.for_s:g} s",
            "slow": f"the replica at {self.site} takes {self.service_ms:g} ms more for each message, "
            f"for {self.for_s:g} s",
            "lossy": f"{self.percent:g} % of messages between {self.site} and {self.to} are lost, "
            f"for {self.for_s:g} s",
        }
        return what[self.kind]


# --- presets -------------------------------------------------------------------------------------------


def _neighbour(place: Place) -> str:
    """The site nearest to the leader's: most quorums need it."""
    at = place.sites.index(place.leader)
    others = [each for each in range(len(place.sites)) if each != at]
    return (
        place.sites[min(others, key=lambda each: (place.rtt_ms[at][each], each))] if others else place.leader
    )


def _third(duration_s: float) -> tuple[float, float]:
    """When the middle third of a run begins, and how long it is: seconds."""
    return round(duration_s / 3, 2), round(duration_s / 3, 2)


def _leader_killed(place: Place, site: str, duration_s: float) -> list[Fault]:
    return [Fault("crash", site or place.leader, *_third(duration_s))]


def _region_cut(place: Place, site: str, duration_s: float) -> list[Fault]:
    return [Fault("cut", site or _neighbour(place), *_third(duration_s))]


def _slow_replica(place: Place, site: str, duration_s: float) -> list[Fault]:
    return [Fault("slow", site or _neighbour(place), *_third(duration_s))]


def _lossy_link(place: Place, pair: str, duration_s: float) -> list[Fault]:
    one, other = place.leader, _neighbour(place)
    if pair:
        ways = [(a, b) for a in place.sites for b in place.sites if a != b and f"{a}-{b}" == pair]
        if len(ways) != 1:
            what = "ambiguous" if ways else f"no pair of {', '.join(place.sites)}"
            raise ConfigurationError(f"faults: lossy-link: {pair!r:.80} is {what}")
        one, other = ways[0]
    return [Fault("lossy", one, *_third(duration_s), to=other)]


def _rolling_restart(place: Place, site: str, duration_s: float) -> list[Fault]:
    """One replica after the other, each down for half of its turn."""
    turn_s = duration_s * 0.8 / len(place.sites)
    first_s = duration_s * 0.1
    return [
        Fault("crash", each, round(first_s + at * turn_s, 2), round(turn_s / 2, 2))
        for at, each in enumerate(place.sites)
    ]


#: Presets by name: what they are in words, and what makes the faults of a place, a choice and a duration.
PRESETS: Final[Mapping[str, tuple[str, Callable[[Place, str, float], list[Fault]]]]] = {
    "leader-killed": ("the leader's replica dies for a third of the run", _leader_killed),
    "region-cut": ("one region is cut off for a third of the run", _region_cut),
    "slow-replica": ("one replica is slow for a third of the run", _slow_replica),
    "lossy-link": ("a link loses a fifth of its messages for a third of the run", _lossy_link),
    "rolling-restart": ("every replica is started again, one after the other", _rolling_restart),
}


def find_faults(named: "str | Sequence[Fault]", place: Place, duration_s: float) -> tuple[Fault, ...]:
    """The faults of a comparison, with real sites, in order of time.

    Args:
        named: presets with commas between, or the name of a TOML or JSON file with `fault` entries; or
        faults. place: where. duration_s: how long the run takes, seconds.

    Raises:
        ConfigurationError: an unknown preset or site, a file that is none, or a fault after the end.
    """
    found: list[Fault] = []
    if isinstance(named, str):
        for name in filter(None, (part.strip() for part in named.split(","))):
            preset, _, choice = name.partition(":")
            if preset in PRESETS:
                found += PRESETS[preset][1](place, choice, duration_s)
            elif name.endswith((".toml", ".json")):
                found += _read(name)
            elif name != "none":
                raise ConfigurationError(
                    f"faults: no preset {name!r:.60}; known are {', '.join(PRESETS)}, none"
                )
    else:
        found += named
    if len(found) > _MAX_FAULTS:
        raise ConfigurationError(f"faults: {len(found)}; the limit is {_MAX_FAULTS}")
    return tuple(sorted((_placed(each, place, duration_s) for each in found), key=lambda each: each.at_s))


def _placed(fault: Fault, place: Place, duration_s: float) -> Fault:
    if type(fault) is not Fault:
        raise ConfigurationError(f"faults: expected paxos.compare.Fault, got {fault!r:.60}")
    site = place.leader if fault.site == LEADER else fault.site
    to = place.leader if fault.to == LEADER else fault.to
    for each in (site, to):
        node_of(place, each)
    if fault.kind == "lossy" and site == to:
        raise ConfigurationError(f"faults: a lossy link has two ends, and both are {site}")
    if fault.at_s >= duration_s:
        raise ConfigurationError(f"faults: {fault}, at {fault.at_s:g} s: the run ends at {duration_s:g} s")
    return attrs.evolve(fault, site=site, to=to)


def _read(name: str) -> list[Fault]:
    try:
        text = Path(name).read_text(encoding="utf-8")[:_MAX_BYTES]
        data: Any = tomllib.loads(text) if name.endswith(".toml") else json.loads(text)
    except OSError as error:
        raise ConfigurationError(f"{name}: can not be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{name}: not what its name says: {error}") from error
    entries = data.get("fault") if isinstance(data, Mapping) else data
    if not isinstance(entries, list):
        raise ConfigurationError(f"{name}: expected a list of faults, as [[fault]] makes one")
    return [fields.from_plain(Fault, each, f"{name}, fault {at}") for at, each in enumerate(entries, 1)]


# --- for the simulator -----------------------------------------------------------------------------------


def simulated(faults: Sequence[Fault], place: Place, start_s: float) -> Faults:
    """What the simulator makes of them; lossy links left out."""
    crashes, cuts, pauses, slow = [], [], [], []
    for each in faults:
        at_s, node = start_s + each.at_s, node_of(place, each.site)
        if each.kind == "crash":
            crashes.append(Crash(at_s, node, each.for_s))
        elif each.kind == "cut":
            others = tuple(other for other in range(1, len(place.sites) + 1) if other != node)
            cuts += [Cut(at_s, (node,), others, each.for_s), Cut(at_s, others, (node,), each.for_s)]
        elif each.kind == "pause":
            pauses.append(Pause(at_s, node, each.for_s))
        elif each.kind == "slow":
            slow.append(SlowNode(at_s, node, each.for_s, each.service_ms / 1000))
    return Faults(
        crashes=tuple(crashes), partitions=tuple(cuts), pauses=tuple(pauses), slow_nodes=tuple(slow)
    )


def links_of(faults: Sequence[Fault], place: Place, start_s: float) -> tuple[LossyLink, ...]:
    """The lossy links among them, both ways."""
    links: list[LossyLink] = []
    for each in faults:
        if each.kind == "lossy":
            one, other = node_of(place, each.site), node_of(place, each.to)
            for pair in ((one, other), (other, one)):
                links.append(LossyLink(start_s + each.at_s, each.for_s, *pair, each.percent / 100))
    return tuple(links)


# --- what came of them -----------------------------------------------------------------------------------


def effects_of(
    faults: Sequence[Fault],
    answered_s: Mapping[str, Sequence[float]],
    end_s: float,
) -> tuple[FaultEffect, ...]:
    """For how long nobody was answered after each fault, and when everything was as before.

    Args:
        faults: in order of time.
        answered_s: for each site when its clients were answered, rising; counted from when clients began.
        end_s: when the clients stopped asking.
    """
    effects = []
    everybody = sorted(each for times in answered_s.values() for each in times)
    for at, fault in enumerate(faults):
        later = [each.at_s for each in faults[at + 1 :] if each.at_s > fault.at_s]
        until_s = min([*later, end_s])
        over_s = fault.at_s + fault.for_s
        effects.append(
            FaultEffect(
                what=str(fault),
                at_s=rounded(fault.at_s),
                until_s=rounded(over_s) if over_s < end_s else None,
                unavailable_s={
                    site: _longest_gap_s(times, fault.at_s, until_s) for site, times in answered_s.items()
                },
                all_unavailable_s=_longest_gap_s(everybody, fault.at_s, until_s),
                recover_s=_recover_s(answered_s, faults[0].at_s, fault.at_s, until_s),
            )
        )
    return tuple(effects)


def _longest_gap_s(times: Sequence[float], from_s: float, until_s: float) -> float:
    points = [from_s, *(each for each in times if from_s < each < until_s), until_s]
    return rounded(max(after - before for before, after in pairwise(points)))


def _recover_s(
    answered_s: Mapping[str, Sequence[float]], calm_s: float, from_s: float, until_s: float
) -> float | None:
    """From when on every site has its rate again, and keeps it for a while: seconds after `from_s`."""
    # What a site does when nothing is wrong is seen before the first fault.
    rates = {
        site: sum(each < calm_s for each in times) / max(calm_s, 1e-9) for site, times in answered_s.items()
    }
    rates = {site: rate for site, rate in rates.items() if rate > 0}
    if not rates:
        return None
    window_s = max(_WINDOW_S, _WINDOW_COMMANDS / min(rates.values()))
    bad_s = from_s - _STEP_S
    steps = int((until_s - window_s - from_s) / _STEP_S)
    if steps < 0:
        return None
    for step in range(steps + 1):
        begin_s = from_s + step * _STEP_S
        for site, rate in rates.items():
            times = answered_s[site]
            count = bisect_left(times, begin_s + window_s) - bisect_left(times, begin_s)
            if count < _RECOVERED * rate * window_s:
                bad_s = begin_s
                break
        else:
            # It holds for two windows, as far as there are any.
            if begin_s >= bad_s + 2 * window_s:
                break
    recovered_s = bad_s + _STEP_S
    return rounded(recovered_s - from_s) if recovered_s <= until_s - window_s else None
