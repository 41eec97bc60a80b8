"""`paxos exhaust`: visits every state of a small closed world of a protocol's roles.

Where the number of states that the specification has is known, the search must find exactly as many; and
whatever does not hold in some state is shown as a shortest way there.
"""

import argparse
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import attrs

from paxos.cli.arguments import Commands, add_command, count
from paxos.cli.explore import look_here
from paxos.cli.output import Output
from paxos.contract import FAULTS_OF_SCOPES, ScopeSettings, find_protocol
from paxos.errors import EXIT_CHECK_FAILED, EXIT_DONE, EXIT_NO, ConfigurationError

if TYPE_CHECKING:
    from paxos.check.exhaust import OnProgress, SearchProgress, SearchResult

__all__ = ["add"]

_MOST: Final = 1_000_000_000
#: States between two lines of progress, where no bar is drawn.
_LINE_STATES: Final = 500_000


def add(commands: Commands) -> None:
    """Add `paxos exhaust`."""
    parser = add_command(
        commands,
        "exhaust",
        run,
        "visit every state of a small closed world",
        "Takes the protocol's real acceptors, proposers and learners, calls their handlers in every "
        "possible order, and checks every state. Seen as the specification sees it (projected), a "
        "world without faults must have exactly as many states as the model checker finds, where that "
        "number is known.\n\n"
        "Without --faults a message that was sent can be delivered at any time and any number of times. "
        "With `loss` or `duplication` each copy is under way by itself, with room for few at once; with "
        "`restart` roles crash and start anew from their disks.\n\n"
        "Exit code 5 when something that must hold does not, with a shortest way there, or when the number "
        "of states is not the one that must be; 1 when --limit came first, so that nothing is proved.",
        "  paxos exhaust                                 ballots 0..1: under a second\n"
        "  paxos exhaust --ballots 0..2                  2.6 million states, about a minute\n"
        "  paxos exhaust --faults loss,duplication       copies of messages vanish and double\n"
        "  paxos exhaust --faults restart --acceptors 2 --ballots 0..2\n"
        "  paxos exhaust --protocol multipaxos           a log of one slot; --slots 2 for two\n"
        "  paxos exhaust --refine                        check each step against the specification",
    )
    parser.add_argument(
        "--protocol",
        default="paxos",
        metavar="NAME",
        help="what it searches; or package.module:attribute (paxos)",
    )
    parser.add_argument(
        "--ballots", type=_ballots, default=2, metavar="0..B", help="the ballots there are (0..1)"
    )
    parser.add_argument("--acceptors", type=count(1, 7), default=3, metavar="N", help="how many (3)")
    parser.add_argument("--values", type=count(1, 8), default=2, metavar="N", help="how many (2)")
    parser.add_argument("--slots", type=count(1, 4), default=1, metavar="N", help="of a log: how many (1)")
    names = ", ".join(FAULTS_OF_SCOPES)
    parser.add_argument(
        "--faults", type=_faults, default=(), metavar="NAMES", help=f"what goes wrong, with commas: {names}"
    )
    parser.add_argument(
        "--in-flight",
        type=count(1, 64),
        metavar="N",
        help="with loss or duplication: copies under way at once, at most (as many as acceptors)",
    )
    parser.add_argument(
        "--unsynced",
        type=count(1, 8),
        default=1,
        metavar="N",
        help="with restart: answers of one acceptor that wait for its disk, at most (1)",
    )
    parser.add_argument(
        "--refine", action="store_true", help="check also that the specification allows each step"
    )
    parser.add_argument(
        "--limit", type=count(1, _MOST), metavar="N", help="stop at so many states; a million take 160 MB"
    )


def _ballots(text: str) -> int:
    low, _, high = text.partition("..")
    if low != "0" or not high.isdecimal() or int(high) > 7:
        raise argparse.ArgumentTypeError(f"expected 0..B with B at most 7, as in 0..2, not {text!r}")
    return int(high) + 1


def _faults(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in names if name not in FAULTS_OF_SCOPES and name != "none"]
    if unknown:
        known = ", ".join(FAULTS_OF_SCOPES)
        raise argparse.ArgumentTypeError(f"no such fault here: {unknown[0]!r}; there are {known}")
    return tuple(name for name in names if name != "none")


def run(arguments: argparse.Namespace, out: Output) -> int:
    """Search, and tell."""
    from paxos.check.exhaust import search

    look_here(arguments.protocol)
    protocol = find_protocol(arguments.protocol)
    if protocol.scope is None:
        raise ConfigurationError(
            f"protocol {protocol.name!r} offers no closed world to search; "
            "`paxos explore` searches its schedules"
        )
    settings = ScopeSettings(
        acceptors=arguments.acceptors,
        ballots=arguments.ballots,
        values=arguments.values,
        faults=arguments.faults,
        in_flight=arguments.in_flight,
        unsynced=arguments.unsynced,
        slots=arguments.slots,
    )
    with _progress(out) as progress:
        found = search(protocol.scope(settings), arguments.limit, progress, arguments.refine)
        if found.missed and not arguments.refine:
            # Some step of too many is one that the specification does not have: look for it.
            out.say(f"{_missed(found)}; searching again, for a step that the specification does not allow")
            again = search(protocol.scope(settings), arguments.limit, progress, refine=True)
            found = attrs.evolve(found, counterexample=again.counterexample)
    if not out.as_json:
        print("\n".join(_lines(found)))
    out.result({"protocol": protocol.name, **found.to_json()})
    if not found.ok:
        return EXIT_CHECK_FAILED
    return EXIT_DONE if found.finished else EXIT_NO


def _missed(found: "SearchResult") -> str:
    return f"{found.projected:,} projected states, and the specification has {found.expected:,}"


def _lines(found: "SearchResult") -> Iterator[str]:
    yield found.title
    yield f"  states       {found.states:,}"
    if found.projected is not None:
        expected = "" if found.expected is None else f"; the specification has {found.expected:,}"
        yield f"  projected    {found.projected:,}{expected}"
    yield f"  transitions  {found.transitions:,}"
    yield f"  depth        {found.depth}"
    yield f"  time         {found.elapsed_s:.1f} s"
    if found.collision_bound:
        yield f"  two states taken for one: at most this probable: {found.collision_bound:.1e}"
    if found.counterexample is not None:
        yield f"BROKEN: {found.counterexample.invariant}, in {len(found.counterexample.steps)} steps:"
        yield from (f"  {line}" for line in found.counterexample.lines())
    elif found.missed:
        yield f"BROKEN: {_missed(found)}, though each step is one that it allows: something is never done"
    elif not found.finished:
        yield "not finished: the limit came first; nothing broke so far, and nothing is proved"
    else:
        yield "every state was visited, and nothing that must hold broke"


@contextmanager
def _progress(out: Output) -> "Iterator[OnProgress]":
    """How far the search is, on standard error: on a terminal one line that changes, else a line at times."""
    if not (sys.stderr.isatty() and importlib.util.find_spec("rich")):
        yield lambda at: out.say(_far(at)) if at.states % _LINE_STATES == 0 else None
        return
    import rich.console

    console = rich.console.Console(stderr=True)
    with console.status("searching") as status:
        yield lambda at: status.update(_far(at))


def _far(at: "SearchProgress") -> str:
    rate = at.states / max(at.elapsed_s, 1e-9)
    return (
        f"depth {at.depth}: {at.states:,} states, {at.transitions:,} transitions, {rate:,.0f} states a second"
    )
