"""Strict CBOR: the part of RFC 8949 that the library writes, and nothing else on the way in.

The decoding is cbor2's, which is compiled; what is added here is everything it would let through.
"""

from collections.abc import Callable
from typing import IO, Any, Final, NoReturn, cast

from cbor2 import CBORDecoder
from cbor2 import dumps as _dumps
from cbor2 import loads as _loads

from paxos.errors import WireError

__all__ = ["MAX_DEPTH", "MAX_ITEMS", "count_items", "dumps", "loads_strict"]

#: Levels of arrays and maps inside each other.
MAX_DEPTH: Final = 16
#: The most CBOR items (each array, each number, each string is one) in one input.  It bounds what decoding
#: can make of an input to some 25 MB beside the input's own bytes, however the sender arranged it.
MAX_ITEMS: Final = 1 << 18

# cbor2 stops after one item and does not say where.  Of the ways to find out, the fastest for a short
# input is to decode it as the first half of a pair whose second half is known.  The second half can not be
# forged: it is a byte string longer than any input treated so, and one that begins inside the input and
# runs into these bytes contains their first three, which are not all zero.
_SHORT_BYTES: Final = 256
_ZEROS: Final = bytes(_SHORT_BYTES)
_SECOND_HALF: Final = b"\x59\x01\x00" + _ZEROS


class _NoTags(dict[int, Callable[[Any, bool], Any]]):
    """What cbor2 asks for the meaning of a tag: there is none, for any of the 2^64."""

    def __missing__(self, tag: int) -> NoReturn:
        # Raised here and not by a callable returned, so that what the tag encloses is not decoded first.
        # It must not be a LookupError: cbor2 takes that for "use the built-in meaning".
        raise WireError(f"tag {tag} is not allowed")


def _refuse_tag(tag: object, immutable: bool) -> NoReturn:
    # The second lock: without `_NoTags` it would see the tags that cbor2 has no meaning for.
    raise WireError("a tag is not allowed")


_NO_TAGS: Final = _NoTags()


def dumps(value: object) -> bytes:
    """`value` as CBOR.

    What `loads_strict` takes comes back equal (tuples as lists): None, bools, integers of 64 bits, floats,
    bytes, text, and lists, tuples and maps of them.

    Raises:
        WireError: `value` has no CBOR form.
    """
    try:
        return _dumps(value)
    except Exception as error:
        raise WireError(f"can not be encoded: {error!s:.200}") from error


def loads_strict(data: bytes) -> object:
    """The one CBOR item that `data` is, and nothing after it.

    Raises:
        WireError: `data` is empty, cut short, followed by more, nested deeper than `MAX_DEPTH`, made of more
            than `MAX_ITEMS` items, or has a tag, an indefinite length, a repeated map key, a map key that is
            neither text nor bytes, or text that is not UTF-8.
    """
    if len(data) < _SHORT_BYTES:
        try:
            value, second_half = _loads(
                b"\x82" + data + _SECOND_HALF,
                max_depth=MAX_DEPTH + 1,
                allow_indefinite=False,
                allow_duplicate_keys=False,
                strict_hashable_types=True,
                semantic_decoders=_NO_TAGS,
                tag_hook=_refuse_tag,
            )
            if type(second_half) is bytes and second_half == _ZEROS:
                return value
        except Exception:
            pass  # decoded once more below, without the pair around it, for an error that makes sense
    elif len(data) > MAX_ITEMS:
        # An item is at least one byte, so no shorter input can hold too many: only the rare long ones are
        # worth the counting.
        count_items(data)
    return _loads_any_length(data)


class _Whole:
    """Bytes as the file that a decoder reads: all at once; then it seeks back over what it did not use."""

    __slots__ = ("_data", "unused")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.unused = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, at_least: int) -> bytes:
        data, self._data = self._data, b""
        return data

    def seek(self, offset: int, whence: int) -> None:
        self.unused = -offset


def _loads_any_length(data: bytes) -> object:
    file = _Whole(data)
    try:
        value = CBORDecoder(
            cast("IO[bytes]", file),
            max_depth=MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
            semantic_decoders=_NO_TAGS,
            tag_hook=_refuse_tag,
        ).decode()
    except BaseException as error:
        # A panic of the decoder, which is compiled Rust, is no Exception; it must not end the process either.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        why = f"malformed CBOR: {error!s:.160}"
        if error.__cause__ is not None:
            why += f": {error.__cause__!s:.160}"
    else:
        if not file.unused:
            return value
        why = f"malformed CBOR: an item of {len(data) - file.unused} bytes, followed by {file.unused} more"
    # Outside the handler, so that the error does not keep alive what was half decoded.
    raise WireError(why)


def _item_steps() -> list[int]:
    """By an item's first byte: bytes from it to the next item; 0 where the next bytes say how many."""
    steps = []
    for first in range(256):
        major, low = first >> 5, first & 31
        extra = 1 << (low - 24) if 24 <= low <= 27 else 0  # bytes of the argument
        is_string = major in (2, 3)
        if is_string and extra:
            steps.append(0)
        else:
            steps.append(1 + extra + (low if is_string and low < 24 else 0))
    return steps


_ITEM_STEPS: Final = _item_steps()


def count_items(data: bytes) -> int:
    """How many CBOR items there are in `data`, found without building one.

    An array or map is followed by its first item, so stepping from head to head visits everything; whether
    the heads make sense is the decoder's to say.

    Raises:
        WireError: more than `MAX_ITEMS`.
    """
    at, count, end = 0, 0, len(data)
    while at < end:
        first = data[at]
        step = _ITEM_STEPS[first]
        if not step:
            extra = 1 << ((first & 31) - 24)
            step = 1 + extra + int.from_bytes(data[at + 1 : at + 1 + extra], "big")
        at += step
        count += 1
        if count > MAX_ITEMS:
            raise WireError(f"more than {MAX_ITEMS} CBOR items in {end} bytes")
    return count
