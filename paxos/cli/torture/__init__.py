"""`paxos torture`: real processes under load while everything goes wrong; then what was said is judged."""

from paxos.cli.torture.command import add

__all__ = ["add"]
