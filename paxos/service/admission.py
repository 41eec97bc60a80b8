"""Whether requests of a client are taken at all, before anything orders them.

What is refused here was certainly not carried out, and so every node may decide by what it happens to know:
nothing that is replicated follows from it.  Some refusals are for now, and the client tries again; others
are for ever, and it is told so.

A client that does not say which results it has makes every node keep them.  So it may have only so many, and
so many bytes of them; whatever it asks for again is still answered.  What was under way when a bound is met
is carried out all the same, and the next marker drops what is too much (`sessions`).
"""

from typing import Final, NamedTuple

from paxos.service.batches import MAX_REQUEST_BYTES, Run
from paxos.service.log_messages import RefusedKind
from paxos.service.sessions import MAX_KEPT_BYTES, Session

__all__ = ["MAX_UNACKNOWLEDGED", "NotTaken", "look_at"]

#: A client may have so many requests without acknowledging a result.
MAX_UNACKNOWLEDGED: Final = 65_536
_DIGEST: Final = 8


class NotTaken(NamedTuple):
    """Why requests are not taken.

    Args:
        first: how many of the run are taken, before those that are not.
        kind: REJECTED when another try may do better, NEVER when none will.
        reason: one sentence.
    """

    first: int
    kind: RefusedKind
    reason: str


def look_at(run: Run, size: int, session: Session | None) -> NotTaken | None:
    """What is wrong with a run in itself, and with what its client has asked for before; None for nothing.

    Args:
        run: the requests.
        size: bytes of them in a batch, about.
        session: what is remembered of the client.
    """
    if size > MAX_REQUEST_BYTES:
        for index, body in enumerate(run.bodies):
            if len(body) > MAX_REQUEST_BYTES:
                number = run.sequence + index
                why = f"request {number} has {len(body)} bytes; the limit is {MAX_REQUEST_BYTES}"
                return NotTaken(0, RefusedKind.NEVER, why)
    if session is None:
        return None
    if run.sequence <= session.highest:
        for index in range(len(run.bodies)):
            digest = run.digests[_DIGEST * index : _DIGEST * (index + 1)]
            number = run.sequence + index
            if session.is_reused(number, digest):
                why = f"request {number} of this client was another command; a number is used once"
                return NotTaken(0, RefusedKind.NEVER, why)
    last = run.sequence + len(run.bodies) - 1
    if last > max(session.acknowledged, run.acknowledged) + MAX_UNACKNOWLEDGED:
        why = f"the client has {MAX_UNACKNOWLEDGED} requests whose results it has not acknowledged"
        return NotTaken(0, RefusedKind.REJECTED, why)
    if session.kept_bytes > MAX_KEPT_BYTES and last > session.highest:
        kept = session.kept_above(run.acknowledged)
        if kept > MAX_KEPT_BYTES:
            why = (
                f"the client has not acknowledged results of {kept} bytes; the limit is {MAX_KEPT_BYTES}: "
                "until it has, nothing new is taken of it"
            )
            # What it asks for again, for want of an answer, is what it could acknowledge then.
            return NotTaken(max(session.highest + 1 - run.sequence, 0), RefusedKind.REJECTED, why)
    return None
