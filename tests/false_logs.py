"""Nodes of a log that answer as a script says, and a client of them."""

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio

from paxos.runtime import Client, connect
from paxos.service.log_messages import (
    AskBirth,
    Birth,
    CancelQuery,
    Instruct,
    Query,
    QueryReply,
    Refused,
    RefusedKind,
    Results,
    SubmitMany,
)
from tests.strangers import PATIENCE_S, false_node, peer_hello

ONE = peer_hello("shop", 1, {})
TWO = peer_hello("shop", 2, {})
#: What a node does with a run, in place of answering each request with its number and its body.
Behaviour = Callable[[Any], Sequence[Any]]


def results(run: Any, first: int = 0, end: int | None = None) -> Results:
    """What a node answers to a run, or to a part of it."""
    bodies = list(enumerate(run.bodies))[first:end]
    return Results(
        run.client, run.sequence + first, [b"%d %s" % (run.sequence + i, body) for i, body in bodies]
    )


def refusal(
    kind: RefusedKind, detail: str = "busy just now", first: int = 0, end: int | None = None
) -> Behaviour:
    """Say so of a run, or of a part of it."""

    def refuse(run: Any) -> Sequence[Any]:
        count = len(run.bodies[first:end])
        return [Refused(run.client, run.sequence + first, count, kind, detail)]

    return refuse


def silence(message: Any) -> Sequence[Any]:
    return []


REJECT = refusal(RefusedKind.REJECTED)
UNKNOWN = refusal(RefusedKind.UNKNOWN)
EXPIRE = refusal(RefusedKind.EXPIRED)


def hang_up(message: Any) -> Sequence[Any]:
    raise anyio.EndOfStream


class FalseNode:
    """Carries out whatever it is asked, except for what its script says of the first runs and queries.

    Attributes:
        runs: all that it was sent.
        queries: all questions.
        silent_births: how many times it does not say which marker was the last.
    """

    def __init__(
        self, *script: Behaviour, then: Behaviour | None = None, queries: Sequence[Behaviour] = ()
    ) -> None:
        self.script = list(script)
        self.then = then
        self.query_script = list(queries)
        self.runs: list[Any] = []
        self.queries: list[Query] = []
        self.cancelled: list[int] = []
        self.instructions: list[Instruct] = []
        self.connections: list[Any] = []
        self.births = 0
        self.silent_births = 0

    def __call__(self, message: Any, stream: Any) -> Sequence[Any]:
        if stream not in self.connections:
            self.connections.append(stream)
        if isinstance(message, AskBirth):
            self.births += 1
            return [] if self.births <= self.silent_births else [Birth(message.sequence, 7)]
        if isinstance(message, SubmitMany):
            self.runs.append(message.run)
            behave = self.script.pop(0) if self.script else self.then
            return [results(message.run)] if behave is None else behave(message.run)
        if isinstance(message, Query):
            self.queries.append(message)
            if self.query_script:
                return self.query_script.pop(0)(message)
            return [QueryReply(message.sequence, 0, b"answer to " + message.body, "")]
        if isinstance(message, Instruct):
            self.instructions.append(message)
            return [QueryReply(message.sequence, 0, b"", "")]
        if isinstance(message, CancelQuery):
            self.cancelled.append(message.sequence)
        return []

    @property
    def numbers(self) -> list[int]:
        """The numbers of all requests that it was sent, in order."""
        return [run.sequence + index for run in self.runs for index in range(len(run.bodies))]

    @property
    def names(self) -> list[bytes]:
        """What the client called itself, in order."""
        return list(dict.fromkeys(run.client for run in self.runs))


@asynccontextmanager
async def met(*nodes: FalseNode, timeout_s: float = PATIENCE_S) -> AsyncIterator[Client]:
    """A client of these nodes, 1 and perhaps 2, that it meets in this order."""
    async with AsyncExitStack() as stack:
        addresses = [
            await stack.enter_async_context(false_node(node, hello))
            for node, hello in zip(nodes, (ONE, TWO), strict=False)
        ]
        yield await stack.enter_async_context(connect(addresses, timeout_s=timeout_s))


async def together(*calls: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    async with anyio.create_task_group() as group:
        for call in calls:
            group.start_soon(call)


def at_rest(client: Client) -> bool:
    """Whether the client keeps nothing of any request or query."""
    log = client._log
    gate = log._gate
    kept: list[Any] = [log._name.calls, log._in_flight, log._asks, log._asks_in_flight]
    kept += [gate.requests, gate.bytes, gate.outside]
    return not any(kept) and not log._in_flight_bytes and not log._news and not log._news_in_flight
