"""Multi-Paxos: a replicated log behind a stable leader.

One promise covers every slot of the log, so that a leader in office needs only the second phase for a
command. The protocol will live in this package. This version holds none of it: nothing is exported yet, and
`paxos.protocols` names no protocol of this package.
"""

__all__: list[str] = []
