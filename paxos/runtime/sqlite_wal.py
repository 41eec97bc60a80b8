"""A look at sqlite's write-ahead log, for what sqlite itself passes over in silence.

After a crash sqlite reads its log up to the first frame whose checksum is wrong and takes the rest for a
write that the crash cut short.  Mostly it is; but when a frame in the middle has rotted, everything behind
it was acknowledged, and dropping it is amnesia.

The two can be told apart, because a batch is synced before the next one is begun.  What a crash cuts short
is always the last batch: behind the broken frame there is at most the rest of that batch, whose last frame
alone carries a commit mark.  A commit mark with another frame of the same log behind it says that the
broken frame belongs to a batch that was acknowledged.

For the last batch, and for a log that was cut off, that is no help.  There the store's own mark decides: it
says, outside the log, how many batches of which log were acknowledged.  The mark is written after each batch
and not synced, so it survives a crash of the process, and may be some seconds old after a power cut.

The format: https://www.sqlite.org/fileformat2.html, "The Write-Ahead Log".
"""

import struct
import sys
from array import array
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from paxos.runtime.store_files import LogMark

__all__ = ["read_generation", "wal_damage", "wal_generation"]

_HEADER: Final = struct.Struct(">IIIIIIII")
_FRAME: Final = struct.Struct(">IIIIII")
#: The lowest bit of the magic number says in which byte order the checksums read words.
_MAGIC: Final = 0x377F0682
_WORD: Final = 0xFFFFFFFF
#: So often a log can not start over before the system writes a mark to the disk of its own accord.
_STARTS_LIMIT: Final = 1 << 16


class _Head(NamedTuple):
    """What is at the beginning of a log."""

    page_size: int
    generation: int
    checksum: tuple[int, int]
    big_endian: bool


class _Sound(NamedTuple):
    """How far a log is sound: so many frames, which complete so many commits."""

    frames: int
    commits: int


def wal_generation(path: Path) -> int:
    """Which log this is: another number each time sqlite starts it over.

    Raises:
        OSError: it can not be read, or is none.
    """
    with path.open("rb") as file:
        return read_generation(file)


def read_generation(log: BinaryIO) -> int:
    """As `wal_generation`, of a log that is open; wherever it was read up to.

    Raises:
        OSError: it can not be read, or is none.
    """
    log.seek(0)
    head = _read_head(log)
    if isinstance(head, str):
        raise OSError(f"{log.name}: {head}")
    return head.generation


def wal_damage(path: Path, mark: LogMark) -> str | None:
    """What is wrong with the log of a store that was not closed properly; None if nothing shows.

    Args:
        path: the file whose name ends in `-wal`.
        mark: how far it had got, as far as is known.

    Raises:
        OSError: it can not be read.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return "the log of the last batches is gone"
    with file:
        head = _read_head(file)
        if isinstance(head, str):
            return head
        sound = _read_sound(file, head)
        if _is_acknowledged_behind(file, head, sound.frames):
            return f"frame {sound.frames + 1} of the log is damaged, and batches written later are behind it"
    if mark.generation == head.generation and sound.commits < mark.commits:
        return f"only {sound.commits} of the last {mark.commits} batches are whole in the log"
    if mark.generation not in (0, head.generation):
        # The upper half counts up when the log starts over.  A log that is newer than the mark is well, since
        # the mark is not synced; any other is not the one that was here.
        newer = ((head.generation >> 32) - (mark.generation >> 32)) & _WORD
        if not 0 < newer < _STARTS_LIMIT:
            return "the log of the last batches is an old copy, or another store's"
    return None


def _read_head(file: BinaryIO) -> _Head | str:
    """The beginning of a log, or what is wrong with it."""
    head = file.read(_HEADER.size)
    if len(head) < _HEADER.size:
        return "the log of the last batches was cut off"
    magic, _, page_size, _, salt_1, salt_2, sum_1, sum_2 = _HEADER.unpack(head)
    big_endian = bool(magic & 1)
    checksum = _checksum(head[:24], (0, 0), big_endian)
    if magic & ~1 != _MAGIC or checksum != (sum_1, sum_2) or not 512 <= page_size <= 65536:
        return "the head of the log of the last batches is damaged"
    return _Head(page_size, salt_1 << 32 | salt_2, checksum, big_endian)


def _read_sound(file: BinaryIO, head: _Head) -> _Sound:
    """Read on while the frames have the right checksum, each of which builds on the one before."""
    frames = commits = 0
    checksum = head.checksum
    while True:
        frame = file.read(_FRAME.size + head.page_size)
        if len(frame) < _FRAME.size + head.page_size:
            return _Sound(frames, commits)
        _, pages_after_commit, salt_1, salt_2, sum_1, sum_2 = _FRAME.unpack_from(frame)
        if salt_1 << 32 | salt_2 != head.generation:
            return _Sound(frames, commits)
        checksum = _checksum(frame[:8], checksum, head.big_endian)
        checksum = _checksum(frame[_FRAME.size :], checksum, head.big_endian)
        if checksum != (sum_1, sum_2):
            return _Sound(frames, commits)
        frames += 1
        commits += pages_after_commit > 0


def _is_acknowledged_behind(file: BinaryIO, log: _Head, sound_frames: int) -> bool:
    """Whether a commit mark of this log follows the sound frames, with a further frame behind it."""
    committed = False
    place = _HEADER.size + sound_frames * (_FRAME.size + log.page_size)
    while True:
        file.seek(place)
        head = file.read(_FRAME.size)
        if len(head) < _FRAME.size:
            return False
        page, pages_after_commit, salt_1, salt_2, _, _ = _FRAME.unpack(head)
        # The salts are new each time the log starts over, so older leftovers do not match.
        if salt_1 << 32 | salt_2 == log.generation and page:
            if committed:
                return True
            committed = bool(pages_after_commit)
        place += _FRAME.size + log.page_size


def _checksum(data: bytes, seed: tuple[int, int], big_endian: bool) -> tuple[int, int]:
    """Sqlite's checksum of a whole number of pairs of words, going on from an earlier one."""
    words = array("I", data)
    if big_endian != (sys.byteorder == "big"):
        words.byteswap()
    first, second = seed
    pairs = iter(words)
    for even, odd in zip(pairs, pairs, strict=True):
        first = (first + even + second) & _WORD
        second = (second + odd + first) & _WORD
    return first, second
