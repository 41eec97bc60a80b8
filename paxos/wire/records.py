"""Records: what a store keeps, behind a checksum, with its kind and the version of its layout.

A store gives back what a disk kept, and disks rot, are copied by hand and outlive releases.  Whatever is not
exactly what was written raises `RecordError`; reading on would be amnesia, and amnesia breaks agreement.
"""

import struct
from collections.abc import Collection, Iterable
from typing import Any, Final
from zlib import crc32

from paxos.errors import RecordError, WireError
from paxos.wire.cbor import dumps, loads_strict
from paxos.wire.fields import brief

__all__ = ["decode_record", "encode_record", "record_version", "seal_record"]

_CHECKSUM: Final = struct.Struct(">I")


def encode_record(kind: int, version: int, fields: Iterable[object]) -> bytes:
    """A record for a store: `fields` behind a checksum, their kind and the version of their layout.

    Args:
        kind: what the fields are, from 0; a record read back as another kind is refused.
        version: of the layout of this kind's fields, from 1.
        fields: of types that CBOR has.

    Raises:
        RecordError: a field has no CBOR form.
    """
    try:
        body = dumps((kind, version, *fields))
    except WireError as error:
        raise RecordError(f"a record of kind {kind}: {error}") from error
    return seal_record(body)


def seal_record(body: bytes) -> bytes:
    """A record for a store, of an encoding that the caller put together by itself.

    Args:
        body: CBOR, an array of kind, version and fields, exactly as `encode_record` would encode it.
    """
    return _CHECKSUM.pack(crc32(body)) + body


def decode_record(data: bytes, kind: int, versions: Collection[int], key: object) -> list[Any]:
    """The fields of a record, unchecked but for the checksum: `take_*` them.

    Args:
        data: what the store gave.
        kind: what the fields should be.
        versions: the layouts that the caller reads; where they differ, `record_version` tells them apart.
        key: under which the store gave it, for the error.

    Raises:
        RecordError: damaged, of another kind, or of a version not in `versions`.
    """
    found_kind, found_version, *fields = _open_record(data, key)
    if found_kind != kind:
        raise RecordError(f"record {_key(key)}: is of kind {brief(found_kind)}, expected kind {kind}")
    if found_version not in versions:
        readable = ", ".join(map(str, sorted(versions)))
        newer = "; a newer release wrote it: run that one" if found_version > max(versions, default=0) else ""
        raise RecordError(
            f"record {_key(key)}: has layout version {brief(found_version)}, "
            f"this release reads {readable}{newer}"
        )
    return fields


def record_version(data: bytes, key: object) -> int:
    """The version of the layout that a record was written in.

    Args:
        data: what the store gave.
        key: under which the store gave it, for the error.

    Raises:
        RecordError: the record is damaged.
    """
    version: int = _open_record(data, key)[1]
    return version


def _open_record(data: bytes, key: object) -> list[Any]:
    """Kind, version and fields, once the checksum fits."""
    if len(data) <= _CHECKSUM.size:
        raise RecordError(f"record {_key(key)}: is corrupted: {len(data)} bytes are too few for a record")
    (checksum,) = _CHECKSUM.unpack_from(data)
    body = data[_CHECKSUM.size :]
    found = crc32(body)
    if found != checksum:
        raise RecordError(
            f"record {_key(key)}: is corrupted: its {len(body)} bytes have checksum {found:08x}, "
            f"not {checksum:08x}; check the disk, and put the newest copy of the store back"
        )
    try:
        record = loads_strict(body)
    except WireError as error:
        raise RecordError(f"record {_key(key)}: {error}") from error
    if type(record) is not list or len(record) < 2 or not type(record[0]) is type(record[1]) is int:
        raise RecordError(f"record {_key(key)}: is no array of kind, version and fields")
    return record


def _key(key: object) -> str:
    """A store's key, as far as it fits into a line."""
    text = repr(key)
    return text if len(text) <= 80 else f"{text[:77]}..."
