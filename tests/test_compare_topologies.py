"""Topologies from outside: every form that people have them in, and what is wrong with one, by its place."""

from pathlib import Path

import pytest

from paxos.compare import even_place, find_place, read_place
from paxos.compare.places import best_leader, rtt_of, select
from paxos.errors import ConfigurationError
from paxos.quorum import Majority, Phase
from paxos.sim import topology_names

pytestmark = pytest.mark.once

PAIRS = """
[mine]
sites = ["us-east-1", "eu-west-1", "sa-east-1"]
leader = "eu-west-1"
rtt = { us-east-1-eu-west-1 = 70.5, sa-east-1-us-east-1 = 113, eu-west-1-sa-east-1 = 180 }
"""
UPPER = 'sites = ["a", "b", "c"]\nupper = [[10, 20], [30]]\n'
MATRIX = ((0, 10, 20), (10, 0, 30), (20, 30, 0))


def write(directory: Path, name: str, text: str) -> str:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_everything_that_comes_along_is_known() -> None:
    for name in topology_names():
        place = find_place(name)
        assert place.leader in place.sites
        assert all(place.rtt_ms[a][b] == place.rtt_ms[b][a] for a in range(3) for b in range(3))
    assert find_place("aws2020").rtt_ms[0][1] == 59.9
    assert find_place("nsdi21", sites=["EU", "CA"]).rtt_ms == ((0, 137), (137, 0))
    assert find_place("nsdi21", nodes=3).sites == ("CA", "VA", "OR")
    assert find_place("uniform:80", nodes=3).rtt_ms[0] == (0, 80, 80)


def test_who_leads_is_named_or_the_best() -> None:
    assert find_place("nsdi21").leader == "CA"
    assert find_place("nsdi21", leader="JP").leader == "JP"
    assert find_place("nsdi21", leader="best").leader == "OR"
    # A part without the named leader gets the best one.
    part = find_place("nsdi21", sites=["VA", "JP", "EU"])
    assert part.leader == part.sites[best_leader(part.rtt_ms, None) - 1] == "VA"
    with pytest.raises(ConfigurationError, match="leader 'XX' is none of CA, VA"):
        find_place("nsdi21", leader="XX")


@pytest.mark.parametrize("name", ["nsdi21", "aws2020", "tempo2021"])
def test_the_best_leader_is_the_one_that_no_other_beats(name: str) -> None:
    place = find_place(name)
    nodes = range(1, len(place.sites) + 1)
    between, quorums = rtt_of(place.rtt_ms), Majority(nodes)

    def total_ms(leader: int) -> float:
        nearest = sorted(between(leader, node) for node in nodes)
        return sum(between(node, leader) + nearest[len(nodes) // 2] for node in nodes)

    assert quorums.is_quorum(range(1, len(nodes) // 2 + 2), Phase.TWO)
    assert total_ms(best_leader(place.rtt_ms, None)) == min(map(total_ms, nodes))


def test_pairs_are_split_where_both_sides_are_sites(tmp_path: Path) -> None:
    place = read_place(write(tmp_path, "mine.toml", PAIRS))
    assert (place.name, place.leader) == ("mine", "eu-west-1")
    assert place.rtt_ms[0] == (0, 70.5, 113)
    ambiguous = PAIRS.replace('"sa-east-1"]', '"sa-east-1", "us", "east-1-eu-west-1"]')
    with pytest.raises(ConfigurationError, match=r"'us-east-1-eu-west-1' is ambiguous: us and east-1-eu-w"):
        read_place(write(tmp_path, "two.toml", ambiguous))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("upper.toml", UPPER),
        ("full.csv", "site,a,b,c\na,0,10,20\nb,10,0,30\nc,20,30,0\n"),
        ("excel.csv", '\ufeff"";"a";"b";"c"\n"a";"";"10";"20"\n"b";"";"";"30"\n"c";"";"";""\n'),
        (
            "ping.txt",
            "      a       b       c\na     -    10 ms   20.0ms\nb  10 ms     -    30ms\nc  20 30 -\n",
        ),
        ("lower.txt", "a b c\n# measured at night\na\nb 10\nc 20 30\n"),
        ("both.txt", "a b c\na 0 9 20\nb 11 0 30\nc 20 30 0.2\n"),
    ],
)
def test_every_form_is_one_matrix(tmp_path: Path, name: str, text: str) -> None:
    place = read_place(write(tmp_path, name, text))
    assert place.sites == ("a", "b", "c")
    assert place.rtt_ms == MATRIX


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.csv", "s,a,b\na,0,1\n", "m.csv: not square: 2 sites in line 1, and 1 lines"),
        ("m.csv", "s,a,b\na,0,1,2\nb,1,0\n", "m.csv, line 2: not square: 3 distances for 2 sites"),
        ("m.csv", "s,a,b,c\na,0,1,2\nb,1,0\nc,2,1,0\n", "m.csv, line 3: not square: 2 distances for 3"),
        ("m.csv", "s,a,b\na,0,-1\nb,1,0\n", "m.csv, line 2, a to b: -1.0 ms is negative"),
        ("m.csv", "s,a,b\na,0,\nb,,0\n", "m.csv: no round trip of a-b"),
        ("m.csv", "s,a,b\na,0,fast\nb,1,0\n", "m.csv, line 2, a to b: 'fast' is no number"),
        ("m.csv", "s,a,b\nb,0,1\na,1,0\n", "m.csv, line 2: expected the distances of a, got 'b'"),
        ("m.csv", "s,a,a\na,0,1\na,1,0\n", "m.csv: site 'a' is there twice"),
        ("m.csv", "", "m.csv: no line with sites"),
        ("t.toml", "sites = [", "t.toml: not TOML"),
        ("t.toml", UPPER.replace(", 20", ""), "t.toml: row 1 of upper, of a: 1 values, not 2"),
        ("t.toml", UPPER.replace("30", "-30"), "t.toml, upper, b to c: -30 ms is negative"),
        ("t.toml", UPPER.replace("30", "nan"), "t.toml, upper, b to c: nan is no number"),
        ("t.toml", UPPER + 'leader = "z"\n', "t.toml: leader 'z' is none of a, b, c"),
        ("t.toml", PAIRS.replace("= 113", "= 0"), "section mine, rtt sa-east-1-us-east-1: 0 ms is not above"),
        ("t.toml", PAIRS.replace(", eu-west-1-sa-east-1 = 180", ""), "no round trip of eu-west-1-sa-east-1"),
        ("t.toml", PAIRS.replace("rtt = {", "rtt = { us-west-9-sa-east-1 = 4,"), "'us-west-9-sa-east-1' "),
        ("t.toml", PAIRS + PAIRS.replace("mine", "other"), "it has mine, other: write .*t.toml#NAME"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_place(write(tmp_path, name, text))


def test_what_there_is_not_is_said() -> None:
    with pytest.raises(ConfigurationError, match="no topology named 'mars'; known are lan, sosp13"):
        find_place("mars")
    with pytest.raises(ConfigurationError, match="no site 'XX'; it has CA, VA"):
        find_place("nsdi21", sites=["CA", "XX"])
    with pytest.raises(ConfigurationError, match="has 5 sites, not 6"):
        find_place("nsdi21", nodes=6)
    with pytest.raises(ConfigurationError, match=r"missing\.csv: can not be read"):
        find_place("missing.csv")
    with pytest.raises(ConfigurationError, match="a site is named twice"):
        select(even_place(10, 3), sites=["s1", "s1"])
    with pytest.raises(ConfigurationError, match="milliseconds follow after"):
        find_place("uniform:fast")
