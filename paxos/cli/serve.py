"""`paxos serve`: runs one node of a cluster until it is told to stop.

What it says goes to standard error through `logging`, as lines for people or, with --log-json, one JSON
object a line.  SIGTERM and Ctrl-C stop it gracefully: what is on its way to the disk gets there.
"""

import argparse
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import attrs

from paxos.cli.arguments import Commands, add_command, count
from paxos.cli.output import Output
from paxos.errors import EXIT_DONE, EXIT_INTERRUPTED, ConfigurationError

if TYPE_CHECKING:
    from paxos.runtime.opening import RunningNode
    from paxos.runtime.serving import NodeExit

__all__ = ["JsonLines", "add", "logging_to_stderr"]

_LEVELS: Final = ("debug", "info", "warning", "error")
_BACKENDS: Final = ("asyncio", "trio")
_CLIENT_BYTES: Final = 16


def add(commands: Commands) -> None:
    """Add `paxos serve`."""
    parser = add_command(
        commands,
        "serve",
        run,
        "run one node of a cluster",
        "Runs until SIGTERM, SIGHUP or Ctrl-C. A node's very first start waits until a majority's size of "
        "the others know its store (in a cluster of three: both), so start them all; after that any minority "
        "may be down. A node whose disk was wiped is refused by the others: give it the old disk.",
        "  paxos serve --config cluster.toml --node 2\n"
        "  paxos serve --config cluster.toml --node 2 --uvloop --log-json --log-level warning\n"
        "  paxos check --config cluster.toml --node 2      first: would it start?",
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="the cluster file")
    parser.add_argument(
        "--node", required=True, type=count(1, 2**31 - 1), metavar="N", help="which of its nodes this is"
    )
    parser.add_argument("--backend", choices=_BACKENDS, default="asyncio", help="the event loop (asyncio)")
    parser.add_argument("--uvloop", action="store_true", help="with asyncio: the faster loop of uvloop")
    parser.add_argument("--log-level", choices=_LEVELS, default="info", help="what to tell (info)")
    parser.add_argument("--log-json", action="store_true", help="log one JSON object a line")
    parser.add_argument(
        "--stop-with-stdin", action="store_true", help="also stop when standard input ends: for supervisors"
    )
    parser.add_argument(
        "--skip",
        type=_request,
        metavar="CLIENT:NUMBER",
        help="a request that every node stops at, because the state machine raises on it, counts as carried "
        "out; the message of the node that stopped names it; start every node with it",
    )
    parser.add_argument(
        "--trace-events",
        metavar="FILE",
        help="add what every handler does to this file, for `paxos spec --trace-events`; slower",
    )


def run(arguments: argparse.Namespace, out: Output) -> int:
    """Serve, then say how it ended."""
    import anyio

    from paxos.runtime.config import load_cluster
    from paxos.runtime.serving import run_node
    from paxos.runtime.tasks import require_backend

    if arguments.uvloop and arguments.backend != "asyncio":
        raise ConfigurationError("--uvloop is a loop of asyncio; leave out --backend trio")
    require_backend("uvloop" if arguments.uvloop else arguments.backend)
    config = load_cluster(arguments.config)
    options = {"use_uvloop": True} if arguments.uvloop else {}
    if arguments.stop_with_stdin and (sys.stdin is None or sys.stdin.closed):
        raise ConfigurationError("--stop-with-stdin: standard input is closed already; give a pipe")

    def on_ready(_: "RunningNode") -> None:
        # Not before: the signal that it sends must find somebody who takes it.
        if arguments.stop_with_stdin:
            threading.Thread(target=_stop_with_stdin, name="stop-with-stdin", daemon=True).start()

    async def main() -> "NodeExit":
        return await run_node(
            config,
            arguments.node,
            on_ready=on_ready,
            trace_events=arguments.trace_events,
            skip=arguments.skip,
        )

    with logging_to_stderr(arguments.log_level, arguments.log_json):
        ended = anyio.run(main, backend=arguments.backend, backend_options=options)
    out.result(attrs.asdict(ended))
    return EXIT_INTERRUPTED if ended.signal == "SIGINT" else EXIT_DONE


def _request(text: str) -> tuple[bytes, int]:
    """A request as messages of nodes name it: the client in hexadecimal digits, and a number."""
    client, _, number = text.partition(":")
    try:
        found = bytes.fromhex(client), int(number)
    except ValueError:
        found = b"", 0
    if len(found[0]) != _CLIENT_BYTES or found[1] < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r:.80}: expected the {2 * _CLIENT_BYTES} hexadecimal digits of a client, a colon, "
            "and a number"
        )
    return found


def _stop_with_stdin() -> None:
    """Wait, in a thread, until nobody can write to standard input any more; then stop as SIGTERM does."""
    with suppress(OSError):  # a terminal that is gone
        while os.read(sys.stdin.fileno(), 4096):
            pass
    os.kill(os.getpid(), signal.SIGTERM)


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, event, node, message, and the event's own arguments."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of one record."""
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in ("event", "node", "arguments"):
            if hasattr(record, name):
                line[name] = getattr(record, name)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=_as_text)


def _as_text(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return str(value)


@contextmanager
def logging_to_stderr(level: str, as_json: bool) -> Iterator[None]:
    """Send what `paxos` logs to standard error, for as long as the block runs."""
    handler = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s")
    handler.setFormatter(JsonLines() if as_json else text)
    logger = logging.getLogger("paxos")
    before = logger.handlers[:], logger.level, logger.propagate
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
    try:
        yield
    finally:
        logger.handlers[:], logger.level, logger.propagate = before
