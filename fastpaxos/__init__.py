"""Fast Paxos: proposers send their values straight to the acceptors, and a collision is recovered from.

In a fast ballot a command is chosen in two message delays by a quorum larger than a majority. The protocol
will live in this package. This version holds none of it: nothing is exported yet, and `paxos.protocols` names
no protocol of this package.
"""

__all__: list[str] = []
