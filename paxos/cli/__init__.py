"""The command line: `paxos demo`, `serve`, `decide`, `status` and the others.

`main` takes the arguments and gives the exit code, so that it can be called from a test or a program
as well as from a shell.  Every group of commands is a file of its own, which loads what it needs only
when one of its commands runs: `paxos --help` opens no socket and imports no event loop.
"""

from paxos.cli.command import main

__all__ = ["main"]
