"""EPaxos: a replicated state machine without a leader, ordered by dependencies between conflicting commands.

Every replica commits what its own clients send, at the distance of its nearest fast quorum. The protocol, in
the corrected form called EPaxos*, will live in this package. This version holds none of it: nothing is
exported yet, and `paxos.protocols` names no protocol of this package.
"""

__all__: list[str] = []
