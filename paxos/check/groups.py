"""Keys and values in groups: scans that see one group leave the others to be ordered apart.

A scan sees many keys at one moment, so a history with one scan of everything is one part, and a long one
takes for ever to put in order.  A program that scans only keys of one kind at a time needs no such part.
Here a key's group is what stands before its first colon, and a scan asks for exactly one group: from
`group:` up to, not including, `group;` (the byte after the colon), which are the keys that begin with
`group:`.

    {"client": 1, "op": "scan", "key": ["g7:", "g7;"], ..., "out": [["g7:a", "1"], ["g7:n", "4"]]}
"""

from collections.abc import Collection, Hashable
from typing import Final

from paxos.check.history import Operation, readable_value
from paxos.check.models import KeyValue

__all__ = ["KeyGroups", "bounds_of"]

_COLON: Final = b":"
_NEXT: Final = b";"


def bounds_of(group: bytes) -> tuple[bytes, bytes]:
    """What a scan of one group asks for: the first key, and the first beyond."""
    return group + _COLON, group + _NEXT


class KeyGroups(KeyValue):
    """`KeyValue`, whose scans see one group of keys; see the room's header."""

    def keys(self, operation: Operation) -> Collection[Hashable] | None:
        """The group."""
        key = operation.key[0] if isinstance(operation.key, tuple) else operation.key
        assert isinstance(key, bytes)
        return (key.partition(_COLON)[0],)

    def refuses(self, operation: Operation) -> str | None:
        """As `KeyValue`; and a scan is of one group."""
        complaint = super().refuses(operation)
        if complaint is None and operation.op == "scan":
            low = operation.key[0] if isinstance(operation.key, tuple) else None
            group = low[:-1] if isinstance(low, bytes) else b":"
            if _COLON in group or operation.key != bounds_of(group):
                return f"scan: key: expected [group:, group;], got {readable_value(operation.key)}"
        return complaint
