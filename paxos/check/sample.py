"""Histories made up: right by construction, with as many overlaps as one likes.

Clients each do one thing after another.  Every operation is carried out by the model at one moment between
its call and its return, so the answers are right; some returns are then forgotten (the outcome is unknown),
and some of those operations are never carried out, or long after their client gave up.  Benchmarks measure
the checker with such histories, and tests plant mistakes in them.
"""

import heapq
import random
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from paxos.check.history import Operation, Value
from paxos.check.models import MODELS, Decree, Model, Register
from paxos.errors import ConfigurationError

__all__ = ["sample_history"]

#: So much of an operation lasts, and so much a client waits, on average, seconds.
_LASTS_S: Final = 0.010
_WAITS_S: Final = 0.002
#: An operation without an answer is carried out so much later at most, seconds.
_LATE_S: Final = 0.5


def sample_history(
    model: str = "kv",
    operations: int = 1000,
    clients: int = 10,
    keys: int = 10,
    seed: int = 1,
    *,
    unknown: float = 0.02,
    scans: float = 0.0,
) -> tuple[Operation, ...]:
    """A history that is linearizable, in order of call.

    Args:
        model: "decree", "register", "kv" or "log".
        operations: how many.
        clients: how many do them at once.
        keys: how many they are about; a log has none.
        seed: of everything drawn.
        unknown: share of operations whose outcome is unknown; half of those never take effect.
        scans: "kv": share of operations that are scans of all keys.

    Raises:
        ConfigurationError: there is no such model, or a number is out of range.
    """
    if model not in _DRAWS:
        raise ConfigurationError(f"no samples for model {model!r:.80}; there are for {', '.join(_DRAWS)}")
    if operations < 0 or clients < 1 or keys < 1 or not (0 <= unknown <= 1 and 0 <= scans <= 1):
        raise ConfigurationError(
            "operations is from 0 on, clients and keys from 1 on, unknown and scans are shares in 0..1"
        )
    return _Sampler(MODELS[model](), _DRAWS[model], keys, random.Random(seed), unknown, scans).run(
        operations, clients
    )


class _Sampler:
    """One history being made.

    Moments are in a heap: calls, which draw what is asked, and effects, which find the answer.
    """

    def __init__(
        self,
        model: Model[Any],
        draw: "Callable[[_Sampler, int], Operation]",
        keys: int,
        source: random.Random,
        unknown: float,
        scans: float,
    ) -> None:
        self.model = model
        #: By the part of the state that operations see: models of single objects know of one at a time.
        self.states: dict[Any, Any] = {}
        self.source = source
        self.keys = keys
        self.scans = scans
        self.made = 0
        self._draw = draw
        self._unknown = unknown

    def run(self, operations: int, clients: int) -> tuple[Operation, ...]:
        source = self.source
        done: list[Operation] = []
        # When, a number to tell equal moments apart, the client, what to carry out (None: call), and its
        # return.
        heap: list[tuple[float, int, int, Operation | None, float | None]] = []
        for client in range(clients):
            heap.append((source.random() * _LASTS_S, client, client, None, None))
        heapq.heapify(heap)
        number = clients
        while heap:
            now_s, _, client, operation, back_s = heapq.heappop(heap)
            if operation is not None:
                found = self.model.apply(self.state_of(operation), operation)
                out: Value = None
                if found is not None:
                    self.states[self._part(operation)], out = found
                if back_s is not None:
                    done.append(attrs.evolve(operation, return_s=back_s, out=out))
                continue
            if self.made == operations:
                continue
            self.made += 1
            operation = attrs.evolve(self._draw(self, client), call_s=round(now_s, 9))
            lasts_s = source.expovariate(1 / _LASTS_S) + 1e-6
            effect_s: float | None = now_s + lasts_s * source.random()
            returns_s: float | None = round(now_s + lasts_s, 9)
            if source.random() < self._unknown:
                done.append(operation)
                returns_s = None
                effect_s = now_s + source.random() * _LATE_S if source.random() < 0.5 else None
            if effect_s is not None:
                number += 1
                heapq.heappush(heap, (effect_s, number, client, operation, returns_s))
            number += 1
            again_s = now_s + lasts_s + source.expovariate(1 / _WAITS_S) + 1e-6
            heapq.heappush(heap, (again_s, number, client, None, None))
        done.sort(key=lambda each: (each.call_s, str(each.client)))
        return tuple(done)

    def _part(self, operation: Operation) -> Any:
        return operation.key if isinstance(self.model, Decree | Register) else None

    def state_of(self, operation: Operation) -> Any:
        """The state that an operation meets now."""
        part = self._part(operation)
        return self.states[part] if part in self.states else self.model.initial()

    def key(self) -> bytes:
        """One of the keys."""
        return b"k%d" % self.source.randrange(self.keys)

    def value(self, client: int) -> bytes:
        """A value that nobody else writes."""
        return b"%d.%d" % (client, self.made)


def _decide(sampler: _Sampler, client: int) -> Operation:
    # Decrees are decided once and then stay: new ones come into use as the history goes on.
    name = b"d%d" % (
        sampler.made * sampler.keys // 40 // max(sampler.keys, 1) + sampler.source.randrange(sampler.keys)
    )
    value = None if sampler.source.random() < 0.3 else sampler.value(client)
    return Operation(client, "decide", name, value)


def _touch(sampler: _Sampler, client: int) -> Operation:
    key, chance = sampler.key(), sampler.source.random()
    if chance < 0.5:
        return Operation(client, "get", key)
    if chance < 0.75:
        return Operation(client, "put", key, sampler.value(client))
    return Operation(client, "cas", key, sampler.value(client), _present(sampler, key))


def _touch_more(sampler: _Sampler, client: int) -> Operation:
    chance = sampler.source.random()
    if chance < sampler.scans:
        return Operation(client, "scan")
    if chance < sampler.scans + 0.05:
        return Operation(client, "delete", sampler.key())
    return _touch(sampler, client)


def _present(sampler: _Sampler, key: bytes) -> Value:
    """What the key holds now, mostly: a compare-and-swap that never succeeds shows little."""
    reading = Operation(0, "get", key)
    found = sampler.model.apply(sampler.state_of(reading), reading)
    assert found is not None
    return found[1] if sampler.source.random() < 0.7 else sampler.value(0)


def _append(sampler: _Sampler, client: int) -> Operation:
    if sampler.source.random() < 0.5:
        return Operation(client, "submit", None, sampler.value(client))
    return Operation(client, "get", sampler.source.randrange(sampler.made))


_DRAWS: Final[Mapping[str, Callable[[_Sampler, int], Operation]]] = {
    "decree": _decide,
    "register": _touch,
    "kv": _touch_more,
    "log": _append,
}
