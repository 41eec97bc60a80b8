"""`python3 -m paxos`: the same as the command `paxos`."""

import sys

from paxos.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
