"""`paxos explain`: why one command of a comparison took as long as it did, in words and as a chart."""

import argparse
from pathlib import Path

from paxos.cli.arguments import Commands, UsageError, add_command, count
from paxos.cli.compare import add_load, add_machines, add_places, in_words_of_arguments, planned
from paxos.cli.output import Output
from paxos.errors import EXIT_DONE, ConfigurationError

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Add `paxos explain`."""
    parser = add_command(
        commands,
        "explain",
        run,
        "why a command was slow: its path through a compared run",
        "Makes one run of `paxos compare` again, and follows one command of it: which replies came when, who "
        "disagreed about which dependency, whether it was recovered, and what its execution waited for after "
        "the commit; as sentences and as a sequence chart. The arguments are those of `paxos compare`, with "
        "one protocol, one conflict rate and one load.",
        "  paxos explain --protocols epaxos --conflict 100                  the slowest command\n"
        "  paxos explain --protocols epaxos --conflict 2 --which median --site JP\n"
        "  paxos explain --protocols multipaxos --which 17 --svg why.svg",
    )
    parser.add_argument("--protocols", metavar="NAME", default="epaxos", help="which protocol (epaxos)")
    parser.add_argument("--seed", type=count(0, 2**63 - 1), default=1, metavar="N", help="of all choices (1)")
    parser.add_argument(
        "--which",
        default="slowest",
        metavar="WHICH",
        help="slowest, median, fastest, or the N-th that was asked",
    )
    parser.add_argument("--site", metavar="SITE", help="only commands of this site's clients")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write the chart there")
    add_places(parser)
    add_load(parser)
    add_machines(parser)


def run(arguments: argparse.Namespace, out: Output) -> int:
    """Explain one command."""
    plan, place = in_words_of_arguments(lambda: planned(arguments))
    from paxos.check.chart import text_chart
    from paxos.check.chart_svg import svg_chart
    from paxos.compare.explain import explain
    from paxos.compare.plan import cells_of

    if len(cells_of(plan)) > 1:
        raise UsageError("explain follows one command of one run: give one protocol, conflict rate and load")
    found = explain(plan, place, arguments.which, arguments.site)
    if arguments.svg is not None:
        try:
            arguments.svg.write_text(svg_chart(found.chart), encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"{arguments.svg}: can not be written: {error.strerror}") from error
        out.say(f"wrote {arguments.svg}")
    text = "\n".join([*found.sentences(), "", text_chart(found.chart)])
    out.result(found.to_json(), text)
    return EXIT_DONE
