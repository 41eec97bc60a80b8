"""The wire format: frames, strict CBOR, field checks, the table of message types, disk records.

Bytes in, values out; no socket and no disk.  What travels is, from the outside in:

    frame     length of the body (4 bytes) | CRC-32 of the body (4 bytes) | body      big-endian
    body      one CBOR array of one or more messages
    message   one CBOR array [version, group, epoch, type, clock, ...fields], positional

and what a store keeps is a *record*: CRC-32 (4 bytes) | CBOR array [kind, version, ...fields].

Everything read here may have been written by an enemy, so every step bounds what the next one is given:

- `frames.py`: `FrameBuffer` looks at the declared length before it keeps a byte of the body, and at the
  checksum before anyone decodes it.  (The checksum finds broken networks; it proves nothing of the sender.)
- `cbor.py`: `loads_strict` takes definite lengths, 16 levels, distinct keys of text or bytes, and no tags,
  since a tag can stand for a regular expression, a shared reference, anything.  It takes one item and
  nothing after it, and a bounded number of items, since one byte can become an array of sixty.
- `table.py`: `MessageTable.decode` knows the types that may come; nothing else becomes an object.
- `fields.py`: the `take_*` functions check each field's exact type (`True` is no integer here) and range.
- `records.py`: the same for what a store gives back, which may have rotted.

The first thing that is wrong raises `WireError` (`RecordError` for a record), which names the message and the
field.  There is nothing to skip and go on with: the caller closes the connection.

How a protocol uses it: one `MessageType` for each message, with hand-written `pack` and `unpack`, because
they run for every message of every decision.
"""

from paxos.wire.cbor import MAX_DEPTH, MAX_ITEMS, dumps, loads_strict
from paxos.wire.fields import (
    MAX_NODE,
    MAX_ROUND,
    MAX_STEP,
    expect_fields,
    pack_ballot_or_bottom,
    take_ballot,
    take_ballot_or_bottom,
    take_bool,
    take_bytes,
    take_int,
    take_list,
    take_node,
    take_optional_bytes,
    take_text,
)
from paxos.wire.frames import FRAME_HEADER_BYTES, MAX_FRAME_BYTES, FrameBuffer, encode_frame
from paxos.wire.records import decode_record, encode_record, record_version
from paxos.wire.table import (
    MAX_BODY_BYTES_OF_MANY,
    MAX_CLOCK,
    MAX_EPOCH,
    MAX_GROUP,
    MAX_MESSAGES,
    VERSION,
    Envelope,
    MessageTable,
    MessageType,
    UnpackFailed,
)

__all__ = [
    "FRAME_HEADER_BYTES",
    "MAX_BODY_BYTES_OF_MANY",
    "MAX_CLOCK",
    "MAX_DEPTH",
    "MAX_EPOCH",
    "MAX_FRAME_BYTES",
    "MAX_GROUP",
    "MAX_ITEMS",
    "MAX_MESSAGES",
    "MAX_NODE",
    "MAX_ROUND",
    "MAX_STEP",
    "VERSION",
    "Envelope",
    "FrameBuffer",
    "MessageTable",
    "MessageType",
    "UnpackFailed",
    "decode_record",
    "dumps",
    "encode_frame",
    "encode_record",
    "expect_fields",
    "loads_strict",
    "pack_ballot_or_bottom",
    "record_version",
    "take_ballot",
    "take_ballot_or_bottom",
    "take_bool",
    "take_bytes",
    "take_int",
    "take_list",
    "take_node",
    "take_optional_bytes",
    "take_text",
]
