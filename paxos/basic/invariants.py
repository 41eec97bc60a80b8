"""placeholder until the room is furnished"""

from paxos.contract import InvariantMaker

INVARIANTS: tuple[InvariantMaker, ...] = ()
