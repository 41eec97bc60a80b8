"""`paxos submit`, `leader` and `transfer`: a replicated log, whatever its state machine does.

A command is bytes that the state machine understands, and so is its answer.  Bytes that can not be typed are
given in hexadecimal digits or base64, or on standard input, or in a file.
"""

import argparse
import base64
import binascii
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from paxos.cli.arguments import (
    Commands,
    Target,
    UsageError,
    add_cluster_arguments,
    add_command,
    count,
    target_of,
)
from paxos.cli.calling import ask_statuses, call, leader_of, open_client, require_log, statuses, value_of
from paxos.cli.output import Output, json_bytes
from paxos.errors import EXIT_DONE, EXIT_NO, EXIT_UNREACHABLE, ConfigurationError, PaxosError

if TYPE_CHECKING:
    from paxos.runtime.client import Client

__all__ = ["add"]

#: Commands of a file handed over at a time.
_PART: Final = 1000
#: How often it is looked whether the leadership has changed hands, seconds.
_LOOK_S: Final = 0.05


def add(commands: Commands) -> None:
    """Add `paxos submit`, `paxos leader` and `paxos transfer`."""
    parser = add_command(
        commands,
        "submit",
        run_submit,
        "have the state machine carry out a command",
        "For any state machine: the bytes are what it understands, and its answer goes to standard output as "
        "it is. Each command is carried out exactly once, however often a node has to be asked again.\n\n"
        "With --many each line of a file is a command. They are carried out in their order, and the answers "
        "are printed a line each, in the form in which the commands are: as they are, or with --hex or "
        "--base64 as digits. --answers-hex and --answers-base64 show answers so, whatever the commands are.",
        "  paxos submit alice:bob:3 --config cluster.toml\n"
        "  paxos submit 67636f6c6f7572 --hex --config cluster.toml      the bytes that these digits are\n"
        "  paxos submit - --config cluster.toml < command.bin\n"
        "  paxos submit --many commands.txt --base64 --config cluster.toml > answers.txt",
    )
    parser.add_argument("bytes", metavar="BYTES", nargs="?", help="the command; - for standard input")
    parser.add_argument(
        "--many", metavar="FILE", help="a file with a command on each line; - for standard input"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--hex", action="store_true", help="commands are given in hexadecimal digits")
    form.add_argument("--base64", action="store_true", help="commands are given in base64")
    answers = parser.add_mutually_exclusive_group()
    answers.add_argument("--answers-hex", action="store_true", help="show answers in hexadecimal digits")
    answers.add_argument("--answers-base64", action="store_true", help="show answers in base64")
    add_cluster_arguments(parser)
    parser = add_command(
        commands,
        "leader",
        run_leader,
        "say which node leads",
        "Asks every node how it does and prints the id of the one that leads; exit code 3 when none does or "
        "none can be reached, 1 when the protocol has no leader.",
        "  paxos leader --config cluster.toml\n  paxos leader --config cluster.toml --json",
    )
    add_cluster_arguments(parser, timeout_s=2.0)
    parser = add_command(
        commands,
        "transfer",
        run_transfer,
        "hand the leadership to another node",
        "Asks the node that leads to stop taking commands, wait until the other has all there is, and let it "
        "lead; a moment instead of an election. Ends when the other leads: exit code 0; or 1 when it does "
        "not "
        "within --timeout. Use it before a leader's machine is stopped for work on it.",
        "  paxos transfer 2 --config cluster.toml",
    )
    parser.add_argument("node", metavar="NODE", type=count(1, 2**31 - 1), help="the node that is to lead")
    add_cluster_arguments(parser)


def _target(arguments: argparse.Namespace) -> Target:
    target = target_of(arguments)
    require_log(target, arguments.command)
    return target


# --- submit ------------------------------------------------------------------------------------------


def run_submit(arguments: argparse.Namespace, out: Output) -> int:
    """Have one command carried out, or many."""
    if (arguments.bytes is None) == (arguments.many is None):
        raise UsageError("give the command's BYTES (- for standard input), or --many FILE; one of the two")
    target = _target(arguments)
    if arguments.many is not None:
        return _submit_many(target, arguments, out)
    command = value_of(arguments.bytes)
    if arguments.hex or arguments.base64:
        command = _decoded(command, arguments, "the command")
    answer = call(target, lambda client: client.submit(command))
    if not out.as_json:
        out.raw(_encoded(answer, arguments, same_form=False))
    out.result({"answer": json_bytes(answer)})
    return EXIT_DONE


def _submit_many(target: Target, arguments: argparse.Namespace, out: Output) -> int:
    commands = [
        _decoded(line, arguments, f"{arguments.many}: line {number}")
        for number, line in enumerate(_lines(arguments.many), 1)
    ]
    answers: list[bytes] = []

    async def submit(client: "Client") -> None:
        rest = iter(commands)
        with out.progress("commands carried out", len(commands)) as bar:
            while part := list(islice(rest, _PART)):
                done = await client.submit_many(part)
                answers.extend(done)
                if not out.as_json:
                    out.raw(b"".join(_encoded(each, arguments, same_form=True) + b"\n" for each in done))
                bar.advance(len(part))

    try:
        call(target, submit)
    except PaxosError:
        if len(commands) > _PART:
            out.say(f"the first {len(answers)} of {len(commands)} commands were carried out before:")
        raise
    out.result({"commands": len(commands), "answers": [json_bytes(answer) for answer in answers]})
    return EXIT_DONE


def _lines(name: str) -> Sequence[bytes]:
    if name == "-":
        if sys.stdin is None:
            raise ConfigurationError("standard input is closed, and the commands are read from there")
        data = sys.stdin.buffer.read()
    else:
        try:
            data = Path(name).read_bytes()
        except OSError as error:
            raise ConfigurationError(f"--many {name}: can not be read: {error.strerror}") from error
    return list(_cut(data))


def _cut(data: bytes) -> Iterator[bytes]:
    """The lines; an end of line that other systems write is one too, and the last line needs none."""
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    for line in lines:
        yield line.removesuffix(b"\r")


def _decoded(text: bytes, arguments: argparse.Namespace, where: str) -> bytes:
    try:
        if arguments.hex:
            return binascii.unhexlify(b"".join(text.split()))
        if arguments.base64:
            return base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error as error:
        raise ConfigurationError(f"{where}: not in the form that was said: {error}") from error
    return text


def _encoded(answer: bytes, arguments: argparse.Namespace, *, same_form: bool) -> bytes:
    if arguments.answers_hex or (same_form and arguments.hex and not arguments.answers_base64):
        return binascii.hexlify(answer)
    if arguments.answers_base64 or (same_form and arguments.base64):
        return base64.b64encode(answer)
    return answer


# --- who leads ---------------------------------------------------------------------------------------


def run_leader(arguments: argparse.Namespace, out: Output) -> int:
    """Say who leads."""
    target = _target(arguments)
    found = statuses(target)
    leader = leader_of(found)
    reached = [status for status in found if status["reachable"]]
    if leader is not None:
        out.result({"leader": leader["node"], "address": leader["address"]}, str(leader["node"]))
        return EXIT_DONE
    out.result({"leader": None, "address": None})
    if reached and not _can_lead(reached):
        out.say(f"paxos: protocol {reached[0]['protocol']} has no leader")
        return EXIT_NO
    why = "; ".join(f"{status['address']}: {status.get('error') or status['summary']}" for status in found)
    out.say(f"paxos: no node leads: {why}")
    return EXIT_UNREACHABLE


def _can_lead(reached: Sequence[dict[str, Any]]) -> bool:
    """Whether these nodes run a protocol with a leader, going by what they say they are."""
    roles = {status["role"] for status in reached if "role" in status}
    return bool(roles) and "replica" not in roles


def run_transfer(arguments: argparse.Namespace, out: Output) -> int:
    """Hand the leadership over, and wait until it is."""
    import anyio

    target, node = _target(arguments), arguments.node
    if target.config is not None:
        target.config.node(node)  # there is one
    found = statuses(target)
    before = leader_of(found)
    reached = [status for status in found if status["reachable"]]
    if reached and not _can_lead(reached):
        out.say(f"paxos: protocol {reached[0]['protocol']} has no leader, so there is nothing to hand over")
        out.result({"leader": None, "before": None})
        return EXIT_NO
    if before is None:
        out.say("paxos: no node that can be reached leads, so there is nothing to hand over")
        out.result({"leader": None, "before": None})
        return EXIT_UNREACHABLE

    async def main() -> dict[str, Any] | None:
        leader: dict[str, Any] | None = before
        with anyio.move_on_after(target.timeout_s):
            async with open_client(target, before["address"]) as client:
                # Half of the time: what is refused is said, and not only not done.
                await client.transfer(node, timeout_s=target.timeout_s / 2)
            while True:
                leader = leader_of(await ask_statuses(target))
                if leader is not None and leader["node"] == node:
                    break
                await anyio.sleep(_LOOK_S)
        return leader

    after = before if before["node"] == node else anyio.run(main)
    now = None if after is None else after["node"]
    out.result({"leader": now, "before": before["node"]}, f"node {now} leads" if now == node else "")
    if now == node:
        return EXIT_DONE
    out.say(f"paxos: node {node} does not lead after {target.timeout_s:g} s; node {now or '?'} does")
    return EXIT_NO
