"""Tasks with an owner, and one plain exception for one cause.

A task group wraps whatever ends it in an exception group.  That is right for whoever runs many things and
wants to hear of each, and wrong for a user of this library, who did one thing and wants to know why it
failed.  Nothing in this package lets such a group out: tasks end through `run_until_first`, and what is
handed to a user is opened through `task_scope`.
"""

import importlib.util
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import anyio
from anyio.abc import TaskGroup

from paxos.errors import ConfigurationError

__all__ = ["CONNECTION_ERRORS", "plain", "reason_of", "require_backend", "run_until_first", "task_scope"]

#: What reading, writing or opening a connection raises when it is the other side or the network.
#: An `ssl.SSLError` and a `TimeoutError` are both an OSError.
CONNECTION_ERRORS: Final = (
    OSError,
    anyio.BrokenResourceError,
    anyio.BusyResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
)


def reason_of(error: BaseException) -> str:
    """Why a connection failed, in the system's own words: "Connection refused"."""
    cause: BaseException | None = error
    while cause is not None:
        # An SSL error has a number too, but not one of the system's; a failed look-up has a negative one.
        if isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError):
            if cause.errno is not None and cause.errno > 0:
                return os.strerror(cause.errno)
        cause = cause.__cause__
    return str(error) or type(error).__name__


def plain(error: BaseException) -> BaseException:
    """The one exception that a group is about: of several, one that is not just a consequence of stopping."""
    leaves: list[BaseException] = []
    pending = [error]
    while pending:
        each = pending.pop(0)
        if isinstance(each, BaseExceptionGroup):
            pending = [*each.exceptions, *pending]
        else:
            leaves.append(each)
    # An interrupt matters more than what it broke; what broke, more than who was cancelled for it.
    leaves.sort(key=lambda each: 0 if isinstance(each, KeyboardInterrupt | SystemExit) else 1)
    return next((each for each in leaves if not isinstance(each, CONNECTION_ERRORS)), leaves[0])


async def run_until_first(*functions: Callable[[], Awaitable[None]]) -> None:
    """Run these side by side; when one returns or fails, the others are cancelled.

    Raises:
        What the first of them raised, never a group.
    """
    cause: BaseException | None = None
    try:
        async with anyio.create_task_group() as group:

            async def one(function: Callable[[], Awaitable[None]]) -> None:
                await function()
                group.cancel_scope.cancel()

            for function in functions:
                group.start_soon(one, function)
    except BaseExceptionGroup as error:
        cause = plain(error)
    if cause is not None:
        # Neither raised inside the group's handler nor kept by this frame: both would be circles, and keep
        # all that its traceback sees, until the collector of circles comes by.
        try:
            raise cause
        finally:
            del cause


@asynccontextmanager
async def task_scope() -> AsyncIterator[TaskGroup]:
    """A task group for what a user holds: whatever its body raises comes out as it is.

    When the body ends, the tasks are cancelled and waited for.
    """
    failure: Exception | None = None
    try:
        async with anyio.create_task_group() as group:
            try:
                yield group
            except Exception as error:
                # Kept out of the group, which would wrap it.
                failure = error
            group.cancel_scope.cancel()
    except BaseExceptionGroup as error:
        raise plain(error) from None
    if failure is not None:
        raise failure


def require_backend(name: str) -> None:
    """Refuse an event loop that is none, or that is not installed.

    Args:
        name: "asyncio", "trio", or "uvloop" for the loop of that name under asyncio.

    Raises:
        ConfigurationError: says which, and what to install.
    """
    if name not in ("asyncio", "trio", "uvloop"):
        raise ConfigurationError(f"backend: expected asyncio or trio, got {name!r:.60}")
    if importlib.util.find_spec(name) is None:
        raise ConfigurationError(f"{name} is not installed; pip install 'paxos-family[{name}]'")
