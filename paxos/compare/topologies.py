"""Topologies that somebody wrote down or measured: TOML, CSV, or what several `ping`s said, pasted.

A TOML section has `sites`, and their round trips in milliseconds: as `rtt`, a table of pairs such as `CA-VA`,
or as `upper`, the upper triangle of the matrix row by row; `leader` and `source` if they are known.

A matrix, with commas or blanks between, has the names of the sites in its first line and in front of each
other line.  What is measured there and what is measured back are two measurements of one round trip: the
mean counts.

Everything is checked, and what is refused is refused with its place: the file, the line or the key.
"""

import math
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from paxos.compare.model import Place
from paxos.compare.places import EVEN, MAX_SITES, even_place, make_place, select
from paxos.errors import ConfigurationError
from paxos.sim import Topology, topology_names

__all__ = ["find_place", "is_file", "known_places", "place_of_matrix", "place_of_table", "read_place"]

_MAX_BYTES: Final = 4 << 20
_MAX_MS: Final = 120_000.0
#: What stands for no distance to oneself.
_NOTHING: Final = frozenset({"", "-", "--", "x", ".", "*", "0"})
_SUFFIXES: Final = (".toml", ".csv", ".txt", ".tsv")


def find_place(
    name: str, *, nodes: int | None = None, sites: Sequence[str] | None = None, leader: str | None = None
) -> Place:
    """A place by name.

    Args:
        name: a bundled topology's; `uniform:MS` for one with that round trip everywhere; or a file's, see
            `topologies`.
        nodes: how many sites an even one has (5); of a named one, only its first so many.
        sites: only these of a named one, in this order.
        leader: who leads, a site's name or "best"; None for the topology's own, or the best.

    Raises:
        ConfigurationError: there is none of that name, or it has no such site.
    """
    if name.startswith(EVEN):
        try:
            rtt_ms = float(name.removeprefix(EVEN))
        except ValueError:
            raise ConfigurationError(f"topology {name!r:.60}: milliseconds follow after {EVEN!r}") from None
        place = even_place(rtt_ms, nodes or 5)
    elif name == "lan":
        place = even_place(0.2, nodes or 5)
    elif is_file(name):
        place = read_place(name)
    else:
        place = place_of_table(name, Topology.table(name), where=f"topology {name}")
    return select(place, nodes=nodes, sites=sites, leader=leader)


def known_places() -> tuple[str, ...]:
    """The names that `find_place` knows; of even ones, the form."""
    return (*topology_names(), f"{EVEN}MS")


def is_file(name: str) -> bool:
    """Whether a topology's name is that of a file: it says so, or looks so, or there is one."""
    path = name.partition("#")[0]
    return name == "-" or "/" in path or path.endswith(_SUFFIXES) or Path(path).is_file()


def read_place(name: str) -> Place:
    """The topology in a file.

    Args:
        name: of the file, with `#section` after it where a TOML file holds several; `-` for standard input.

    Raises:
        ConfigurationError: it can not be read, or is no topology; the message names the place in it.
    """
    path, _, section = name.partition("#")
    text = _text(path)
    if path.endswith(".toml"):
        return _of_toml(path, section, text)
    return place_of_matrix("pasted" if path == "-" else Path(path).stem, text, where=path)


def _text(path: str) -> str:
    if path == "-":
        return sys.stdin.read(_MAX_BYTES)
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: can not be read: {error.strerror}") from error
    if len(data) > _MAX_BYTES:
        raise ConfigurationError(f"{path}: longer than {_MAX_BYTES} bytes, so it is no topology")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8, at byte {error.start}") from error


# --- tables of TOML ---------------------------------------------------------------------------------


def _of_toml(path: str, section: str, text: str) -> Place:
    try:
        data: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: not TOML: {error}") from error
    if "sites" in data and not section:
        return place_of_table(Path(path).stem, data, where=path)
    sections = [key for key, each in data.items() if isinstance(each, dict) and "sites" in each]
    if not section and len(sections) == 1:
        section = sections[0]
    if section not in sections:
        known = ", ".join(sections) or "none"
        what = f"no section {section!r:.60}" if section else "several topologies or none"
        raise ConfigurationError(f"{path}: {what}; it has {known}: write {path}#NAME")
    return place_of_table(section, data[section], where=f"{path}, section {section}")


def place_of_table(name: str, table: Mapping[str, Any], where: str) -> Place:
    """A topology in the form of a section of `regions.toml`.

    Args:
        name: what people call it.
        table: `sites`, `rtt` or `upper`, and perhaps `leader` and `source`.
        where: it is, for messages.

    Raises:
        ConfigurationError: what is wrong, and with which site or pair.
    """
    sites = table.get("sites")
    if not isinstance(sites, list) or not sites or not all(isinstance(each, str) and each for each in sites):
        raise ConfigurationError(f"{where}: sites must be a list of names, not {sites!r:.60}")
    _check_names(sites, where)
    if ("rtt" in table) == ("upper" in table):
        raise ConfigurationError(f"{where}: round trips are either in `rtt` or in `upper`")
    pairs = (
        _of_pairs(sites, table["rtt"], where) if "rtt" in table else _of_upper(sites, table["upper"], where)
    )
    leader = table.get("leader")
    if leader is not None and leader not in sites:
        raise ConfigurationError(f"{where}: leader {leader!r:.60} is none of {', '.join(sites)}")
    return make_place(name, sites, _matrix(sites, pairs, where), leader, str(table.get("source", "")))


def _check_names(sites: Sequence[str], where: str) -> None:
    twice = sorted({each for each in sites if sites.count(each) > 1})
    if twice:
        raise ConfigurationError(f"{where}: site {twice[0]!r:.60} is there twice")
    if len(sites) > MAX_SITES:
        raise ConfigurationError(f"{where}: {len(sites)} sites; the limit is {MAX_SITES}")


def _of_pairs(sites: Sequence[str], rtt: Any, where: str) -> dict[frozenset[str], float]:
    if not isinstance(rtt, dict):
        raise ConfigurationError(f"{where}: rtt must be a table of pairs, not {rtt!r:.60}")
    found: dict[frozenset[str], float] = {}
    for pair, value in rtt.items():
        one, other = _split(pair, sites, where)
        distance = _distance(value, f"{where}, rtt {pair}")
        if found.setdefault(frozenset((one, other)), distance) != distance:
            raise ConfigurationError(f"{where}: rtt {pair} is there twice, and not the same")
    return found


def _split(pair: str, sites: Sequence[str], where: str) -> tuple[str, str]:
    """A pair where both sides are known sites: names have hyphens, too."""
    known = set(sites)
    ways = [
        (pair[:at], pair[at + 1 :])
        for at, character in enumerate(pair)
        if character == "-" and pair[:at] in known and pair[at + 1 :] in known
    ]
    if len(ways) == 1 and ways[0][0] != ways[0][1]:
        return ways[0]
    if len(ways) > 1:
        both = " or ".join(" and ".join(way) for way in ways)
        raise ConfigurationError(f"{where}: rtt {pair!r:.80} is ambiguous: {both}; rename a site")
    raise ConfigurationError(f"{where}: rtt {pair!r:.80} is no pair of {', '.join(sites)}")


def _of_upper(sites: Sequence[str], rows: Any, where: str) -> dict[frozenset[str], float]:
    if not isinstance(rows, list) or len(rows) not in (len(sites) - 1, len(sites)):
        raise ConfigurationError(f"{where}: upper must have {len(sites) - 1} rows, of {len(sites)} sites")
    found: dict[frozenset[str], float] = {}
    for at, (site, row) in enumerate(zip(sites, rows, strict=False)):
        others = sites[at + 1 :]
        if not isinstance(row, list) or len(row) != len(others):
            many = len(row) if isinstance(row, list) else repr(row)[:60]
            raise ConfigurationError(
                f"{where}: row {at + 1} of upper, of {site}: {many} values, not {len(others)}"
            )
        for other, value in zip(others, row, strict=True):
            found[frozenset((site, other))] = _distance(value, f"{where}, upper, {site} to {other}")
    return found


def _matrix(sites: Sequence[str], pairs: Mapping[frozenset[str], float], where: str) -> list[list[float]]:
    missing = [
        f"{a}-{b}" for at, a in enumerate(sites) for b in sites[at + 1 :] if frozenset((a, b)) not in pairs
    ]
    if missing:
        more = f", and {len(missing) - 1} others" if len(missing) > 1 else ""
        raise ConfigurationError(f"{where}: no round trip of {missing[0]}{more}")
    return [[0.0 if a == b else pairs[frozenset((a, b))] for b in sites] for a in sites]


def _distance(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigurationError(f"{where}: {value!r:.60} is no number of milliseconds")
    if value < 0:
        raise ConfigurationError(f"{where}: {value} ms is negative")
    if not 0 < value <= _MAX_MS:
        raise ConfigurationError(f"{where}: {value} ms is not above 0 and up to {_MAX_MS:g}")
    return float(value)


# --- matrices ---------------------------------------------------------------------------------------


def place_of_matrix(name: str, text: str, where: str) -> Place:
    """A topology as a matrix of round trips, with commas, tabs or blanks between.

    The first line has the sites' names, each other line a site's name and its distances; `ms` may follow.
    To itself a site has 0, `-` or nothing at all. A lower triangle will do, and so will an upper one whose
    other half is empty cells.

    Args:
        name: what people call it.
        text: the matrix.
        where: it is, for messages.

    Raises:
        ConfigurationError: it is not square, or a distance is missing or none; the message names the line.
    """
    lines = [
        (number, cells)
        for number, line in enumerate(text.splitlines(), 1)
        if any(cells := _cells(line)) and not line.lstrip().startswith("#")
    ]
    if not lines:
        raise ConfigurationError(f"{where}: no line with sites")
    (_, header), rows = lines[0], lines[1:]
    # Over the names of the rows there may be a word, or nothing.
    sites = header if header[0] in {cells[0] for _, cells in rows} else header[1:]
    _check_names(sites, where)
    if len(rows) != len(sites):
        raise ConfigurationError(
            f"{where}: not square: {len(sites)} sites in line {lines[0][0]}, and {len(rows)} lines after it"
        )
    is_triangle = all(len(cells) - 1 in (at, at + 1) for at, (_, cells) in enumerate(rows))
    measured: dict[tuple[str, str], float] = {}
    for (number, cells), site in zip(rows, sites, strict=True):
        spot = f"{where}, line {number}"
        if cells[0] != site:
            raise ConfigurationError(f"{spot}: expected the distances of {site}, got {cells[0]!r:.60}")
        if len(cells) != len(sites) + 1 and not is_triangle:
            raise ConfigurationError(f"{spot}: not square: {len(cells) - 1} distances for {len(sites)} sites")
        for other, cell in zip(sites, cells[1:], strict=False):
            if other != site and cell not in _NOTHING:
                pair = f"{spot}, {site} to {other}"
                measured[site, other] = _distance(_number(cell, pair), pair)
    pairs: dict[frozenset[str], float] = {}
    for (one, other), there in measured.items():
        back = measured.get((other, one), there)
        pairs[frozenset((one, other))] = (there + back) / 2
    return make_place(name, sites, _matrix(sites, pairs, where), None, "")


def _cells(line: str) -> list[str]:
    for separator in (",", "\t", ";"):
        if separator in line:
            return [cell.strip().strip('"') for cell in line.split(separator)]
    # "12.3 ms" is one value.
    return re.sub(r"(?<=\d)\s+ms\b", "ms", line).replace("|", " ").split()


def _number(cell: str, where: str) -> float:
    try:
        return float(cell.removesuffix("ms").strip())
    except ValueError:
        raise ConfigurationError(f"{where}: {cell!r:.60} is no number of milliseconds") from None
