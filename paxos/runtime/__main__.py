"""`python -m paxos.runtime CLUSTER.toml NODE`: one node and nothing around it, for benchmarks and tests.

It says `ready` on standard output when it serves, logs to standard error, and ends like `paxos serve`: 0
after a signal, or the exit code of what stopped it.
"""

import argparse
import logging
import sys

import anyio

from paxos.errors import PaxosError
from paxos.runtime.serving import run_node


def main() -> int:
    """Run the node that the arguments name; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m paxos.runtime", description="Run one node.")
    parser.add_argument("config", help="the cluster file")
    parser.add_argument("node", type=int, help="the node's id")
    parser.add_argument("--loop", choices=("asyncio", "uvloop", "trio"), default="asyncio")
    parser.add_argument("--log", default="INFO", help="the least level that is logged")
    arguments = parser.parse_args()
    logging.basicConfig(level=arguments.log, format="%(asctime)s %(levelname)s %(message)s")

    async def serve() -> None:
        await run_node(
            arguments.config, arguments.node, on_ready=lambda node: print("ready", node.address, flush=True)
        )

    uvloop = arguments.loop == "uvloop"
    try:
        anyio.run(
            serve,
            backend="asyncio" if uvloop else arguments.loop,
            backend_options={"use_uvloop": True} if uvloop else {},
        )
    except PaxosError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
