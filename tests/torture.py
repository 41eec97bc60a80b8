"""Real processes under load, killed and restarted at random; then everything that was said is compared.

    python -m tests.torture --seconds 60 --seed 1

Clients decide names that others decide too, at whatever node they reach.  Meanwhile nodes are ended by
`kill -9`, by SIGTERM, or stopped for a while (SIGSTOP), never more than a minority at once.  In the end all
nodes run, and for every name all of them and every client that was told anything must agree, and the value
must be one that somebody proposed.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import attrs

from paxos.errors import OutcomeUnknown, PaxosError
from paxos.runtime import Client, connect
from tests.processes import Processes, write_config
from tests.strangers import until_ready

#: Names are decided by several clients each; so many clients choose among so many names at a time.
_CLIENTS = 8
_WINDOW = 12
_CALL_S = 20.0
#: How long the end may take to find every decision everywhere, seconds.
_SETTLE_S = 60.0


@attrs.define
class Report:
    """What happened, and what was wrong.

    Args:
        seconds: how long it ran.
        decided: names that some client was told about.
        answers: how often clients were told something.
        unknown: calls whose outcome is unknown.
        refused: calls that were certainly not carried out.
        kills: nodes ended by `kill -9`.
        stops: nodes ended by SIGTERM.
        pauses: nodes that were stopped for a while.
        wrong: every disagreement; empty when all is well.
    """

    seconds: float = 0.0
    decided: int = 0
    answers: int = 0
    unknown: int = 0
    refused: int = 0
    kills: int = 0
    stops: int = 0
    pauses: int = 0
    wrong: list[str] = attrs.field(factory=list)


@attrs.define
class Said:
    """Everything clients proposed and were told, by name; and each call as a line of history.

    What was refused is kept too: whoever proposed it was told that it was certainly not carried out.
    """

    proposed: dict[str, set[bytes]] = attrs.field(factory=dict)
    refused: dict[str, set[bytes]] = attrs.field(factory=dict)
    told: dict[str, dict[bytes, str]] = attrs.field(factory=dict)
    history: list[dict[str, Any]] = attrs.field(factory=list)


async def torture(
    directory: Path, seconds: float, seed: int, nodes: int = 3, history: Path | None = None
) -> Report:
    """Run it.

    Args:
        directory: for the cluster file and the stores.
        seconds: how long clients and trouble go on.
        seed: of what is random here; how the processes race is the machine's own affair.
        nodes: how many.
        history: where to write the history, as JSON lines.
    """
    report, said = Report(), Said()
    started_s = time.monotonic()
    config = write_config(directory, nodes)
    loops = ("asyncio", "trio", "uvloop" if sys.platform != "win32" else "asyncio")
    with Processes(config, loops) as processes:
        await anyio.to_thread.run_sync(processes.start)
        async with connect(processes.addresses, timeout_s=_SETTLE_S) as client:
            await client.decide("warm-up", b"w")  # every node is introduced before the first is killed
            await until_ready(client, *config.members)
        async with anyio.create_task_group() as group:
            until_s = time.monotonic() + seconds
            for number in range(_CLIENTS):
                draw = random.Random(seed * 1000 + number)
                addresses = processes.addresses
                group.start_soon(_propose, addresses, number, draw, until_s, started_s, said, report)
            await _trouble(processes, random.Random(seed), until_s, report)
        report.seconds = time.monotonic() - started_s
        await _compare(processes, said, report)
        codes = await anyio.to_thread.run_sync(_stop_all, processes)
        if any(codes.values()):
            report.wrong.append(f"exit codes after SIGTERM, by node: {codes}")
    if history is not None:
        history.write_text("".join(json.dumps(line) + "\n" for line in said.history), encoding="utf-8")
    report.decided = len(said.told)
    return report


async def _propose(
    addresses: list[str],
    number: int,
    draw: random.Random,
    until_s: float,
    started_s: float,
    said: Said,
    report: Report,
) -> None:
    """One client: deciding and reading names that others decide too."""
    order = addresses[number % len(addresses) :] + addresses[: number % len(addresses)]
    first = count = 0
    async with connect(order, timeout_s=_CALL_S) as client:
        while time.monotonic() < until_s:
            count += 1
            # The names in use move on together, with time, so that they are new now and then.
            first = int((time.monotonic() - started_s) * 40)
            name = f"d{first + draw.randrange(_WINDOW)}"
            value = b"%d-%d" % (number, count)
            reading = draw.randrange(4) == 0
            line: dict[str, Any] = {"client": number, "op": "decide", "key": name, "value": value.decode()}
            line |= {"old": None, "call": time.monotonic() - started_s}
            try:
                if reading:
                    line |= {"value": None}  # a read is a decide that proposes nothing
                    chosen = await client.decided(name)
                else:
                    said.proposed.setdefault(name, set()).add(value)
                    chosen = await client.decide(name, value)
            except PaxosError as error:
                certain = not isinstance(error, OutcomeUnknown)
                if certain and not reading:
                    said.refused.setdefault(name, set()).add(value)
                report.refused += certain
                report.unknown += not certain
                if certain:
                    continue  # it did not happen: a history leaves it out
                line |= {"return": None, "out": None}
            else:
                report.answers += 1
                line |= {"return": time.monotonic() - started_s, "out": chosen and chosen.decode()}
                if chosen is not None:
                    said.told.setdefault(name, {}).setdefault(chosen, f"client {number}")
                elif name in said.told and reading and _was_told(said, name, float(line["call"])):
                    report.wrong.append(f"{name}: read as undecided, and was told before: {said.told[name]}")
            said.history.append(line)


def _was_told(said: Said, name: str, before_s: float) -> bool:
    """Whether somebody had been told what is chosen before this moment."""
    return any(
        line["key"] == name and line["out"] is not None and line["return"] < before_s for line in said.history
    )


async def _trouble(processes: Processes, draw: random.Random, until_s: float, report: Report) -> None:
    """End nodes and start them again, a minority at a time."""
    members = list(processes.config.members)
    minority = (len(members) - 1) // 2
    while time.monotonic() < until_s:
        await anyio.sleep(0.1 + 0.7 * draw.random())
        victims = draw.sample(members, draw.randint(1, minority))
        kind = draw.choice(("kill", "kill", "kill", "stop", "pause"))
        for victim in victims:
            process = processes.nodes[victim]
            if not process.running:
                report.wrong.append(f"node {victim} ended by itself: {process.log()[-500:]}")
            elif kind == "kill":
                report.kills += 1
                process.kill()
            elif kind == "stop":
                report.stops += 1
                process.terminate()
                if await anyio.to_thread.run_sync(process.wait):
                    report.wrong.append(f"node {victim}: an error after SIGTERM: {process.log()[-500:]}")
            else:
                report.pauses += 1
                process.signal(signal.SIGSTOP)
        await anyio.sleep(0.5 * draw.random())
        if kind == "pause":
            for victim in victims:
                processes.nodes[victim].signal(signal.SIGCONT)
        else:
            await anyio.to_thread.run_sync(processes.start, *victims)


async def _compare(processes: Processes, said: Said, report: Report) -> None:
    """Ask every node for every decision, one node after the other, and compare."""
    found: dict[str, list[tuple[bytes | None, str]]] = {
        name: [(value, who) for value, who in said.told.get(name, {}).items()] for name in said.proposed
    }
    for node in processes.config.nodes:
        async with connect([node.address], timeout_s=_SETTLE_S) as client:

            async def ask(name: str, client: Client = client, node: int = node.id) -> None:
                found[name].append((await client.decided(name), f"node {node}"))

            async with anyio.create_task_group() as group:
                for name in said.proposed:
                    group.start_soon(ask, name)
    for name, answers in found.items():
        refused: Collection[bytes] = said.refused.get(name, ())
        complaint = disagreement(said.proposed[name], [value for value, _ in answers], refused)
        if complaint:
            report.wrong.append(f"{name}: {complaint}: {answers}")


def disagreement(
    proposed: Collection[bytes], answers: Sequence[bytes | None], refused: Collection[bytes] = ()
) -> str:
    """What is wrong with answers that were given one after the other; empty when nothing is.

    Args:
        proposed: every value that somebody proposed; no two proposals have the same.
        answers: what clients and nodes said is chosen.
        refused: proposals of clients who were told that they were certainly not carried out.

    Undecided may become decided, since whoever asks completes what was left half done; never the reverse.
    """
    known: bytes | None = None
    for answer in answers:
        if answer is None and known is not None:
            return "undecided after it was decided"
        if answer is not None and answer not in proposed:
            return "chosen, and nobody proposed it"
        if answer is not None and answer in refused:
            return "chosen, and who proposed it was told that it was not carried out"
        if known is not None and answer != known:
            return "decided differently"
        known = answer
    return ""


def _stop_all(processes: Processes) -> dict[int, int]:
    for process in processes.nodes.values():
        process.terminate()
    codes = {}
    for node, process in processes.nodes.items():
        try:
            codes[node] = process.wait()
        except subprocess.TimeoutExpired:
            codes[node] = -1
    return codes


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (60)")
    parser.add_argument("--seed", type=int, default=1, help="of what is random (1)")
    parser.add_argument("--nodes", type=int, default=3, help="how many (3)")
    parser.add_argument("--history", type=Path, help="write the clients' history here, as JSON lines")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="paxos-torture-") as temporary:
        report = anyio.run(
            torture, Path(temporary), arguments.seconds, arguments.seed, arguments.nodes, arguments.history
        )
    print(json.dumps(attrs.asdict(report), indent=1))
    return 5 if report.wrong or not report.decided or not report.kills else 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
