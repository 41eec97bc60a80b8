"""Charts: a run as a picture in which one sees the bug."""

import re
import xml.etree.ElementTree as ElementTree

import attrs
import pytest

from paxos.check.chart import CLIENTS, Chart, ChartEvent, chart_of, text_chart
from paxos.check.chart_svg import svg_chart
from paxos.check.recording import Record
from paxos.check.scenario import Played, Scenario
from paxos.command import Command, Footprint, RequestId
from paxos.sim import Crash, Faults, Pause, Wipe, Workload

OWN_VALUE = Scenario(
    protocol="tests.planted:own_value",
    eager=True,
    schedule=(
        '1 submits decide "d" = "v1"',
        '1 -> 3 Prepare "d"',
        '3 -> 1 Promise "d"',
        '2 submits decide "d" = "v2"',
        '1 -> 3 Accept "d"',
        '2 -> 3 Prepare "d"',
        "crash 1",
        "restart 1",
        '3 -> 2 Promise "d"',
    ),
)

EXPECTED = """\
who proposes what
clients                          node 1                           node 2                           node 3
   ├── decide "d" = "v1" ──────────►│                                │                                │
   │                                • own Promise 1.1 no vote        │                                │
   │                                ├── Prepare 1.1 ─────────────────┼───────────────────────────────►│
   │                                │◄───────────────────────────────┼────────── Promise 1.1 no vote ─┤
   │                                • own Accepted 1.1 "v1"          │                                │
   ├── decide "d" = "v2" ───────────┼───────────────────────────────►│                                │
   │                                │                                • own Promise 1.2 no vote        │
   │                                ├── Accept 1.1 "v1" ─────────────┼───────────────────────────────►│
   │                                │                                ├── Prepare 1.2 ────────────────►│
   │                                ✗ crashes                        │                                │
   │                                ▲ restarts                       │                                │
   │                                │                                │◄── Promise 1.2 voted 1.1 "v1" ─┤

VIOLATED  AcceptSafe: node 2, decree b'd': proposes b'v2' at 1.2; the promises, with their votes,
          are {2: '⊥', 3: '1.1'}
"""


def _texts(svg):
    root = ElementTree.fromstring(svg)
    return ["".join(each.itertext()) for each in root.iter() if each.tag.endswith("}text")]


def test_the_bug_can_be_seen():
    chart = chart_of(OWN_VALUE.run(record=True), title="who proposes what")
    assert text_chart(chart) == EXPECTED


def test_the_drawing_says_the_same():
    chart = chart_of(OWN_VALUE.run(record=True), title="who proposes what")
    svg = svg_chart(chart)
    texts = _texts(svg)
    for event in chart.events:
        assert any(event.text in text for text in texts)
    assert texts[0] == "who proposes what"
    assert {*chart.lanes} <= {*texts}
    assert any("AcceptSafe" in text for text in texts)
    assert svg.count('class="arrow') == sum(event.kind == "arrow" for event in chart.events)
    # A file on its own: nothing is fetched.
    assert "href" not in svg
    assert svg_chart(chart) == svg
    assert "prefers-color-scheme: dark" in svg


def test_nothing_is_drawn_outside():
    for nodes in (1, 3, 7):
        scenario = Scenario(nodes=nodes, workload=Workload(operations=4, names=1), duration_s=1.0)
        root = ElementTree.fromstring(svg_chart(chart_of(scenario.run(record=True))))
        width, height = float(root.attrib["width"]), float(root.attrib["height"])
        for each in root.iter():
            for name, limit in (("x", width), ("x1", width), ("x2", width), ("y", height), ("y2", height)):
                assert -1 <= float(each.attrib.get(name, 0)) <= limit


def test_timed_runs_too_with_their_crashes():
    faults = Faults(crashes=[Crash(0.3, 2, 0.4)])
    scenario = Scenario(faults=faults, workload=Workload(operations=5, names=3), duration_s=1.0)
    played = scenario.run(record=True)
    chart = chart_of(played)
    kinds = [event.kind for event in chart.events]
    assert kinds.count("crash") == kinds.count("restart") == 1
    assert kinds.count("decide") == sum(map(len, played.result.decisions.values()))
    arrows = [event for event in chart.events if event.kind == "arrow" and event.lane != CLIENTS]
    assert sum("Introduce" not in event.text for event in arrows) <= played.result.deliveries
    assert chart.broken == ""
    lines = text_chart(chart).splitlines()
    down = [line for line in lines if "✗ crashes" in line]
    assert len(down) == 1
    # While it is down, its line is not drawn.
    place = down[0].index("✗")
    assert lines[lines.index(down[0]) + 1][place : place + 1] in ("", " ", "▲", "─")


def test_disks_are_shown_when_asked():
    scenario = Scenario(schedule=('1 submits decide "d" = "a"', "sync 1"))
    played = scenario.run(record=True)
    assert "disk synced" not in text_chart(chart_of(played))
    assert "disk synced" in text_chart(chart_of(played, disks=True))


def test_long_runs_show_how_they_begin_and_how_they_end():
    played = Scenario(workload=Workload(operations=30), duration_s=1.0).run(record=True)
    whole, chart = chart_of(played, most=100_000), chart_of(played, most=50)
    assert len(chart.events) == 51
    assert chart.events[:25] == whole.events[:25]
    assert chart.events[-25:] == whole.events[-25:]
    gap = chart.events[25]
    assert re.fullmatch(rf"{len(whole.events) - 50} rows are left out, from [\d.]+ s to [\d.]+ s", gap.text)
    assert f"... {gap.text} ..." in text_chart(chart)
    assert f"... {gap.text} ..." in _texts(svg_chart(chart))


# --- rows that come again and again ---------------------------------------------------------------------


def _asked(at_s, node, value=b"a"):
    command = Command(RequestId(b"c" * 16, 0, 1, b"d" * 8), Footprint.of(writes=[b"d"]), value)
    return Record("request", node, None, None, command, (), None, at_s=at_s)


def _chart(*records, most=400):
    result = Scenario().run().result
    return [event.text for event in chart_of(Played(result, records=records), most=most).events]


def _crash(node):
    return Record("crash", node, None, None, None, (), {})


def test_a_row_that_comes_again_is_drawn_once():
    asked = 'decide "d" = "a"'
    begun = [_asked(number / 2, 1) for number in range(37)]
    assert _chart(*begun, _crash(1)) == [asked, "the row above x 37, from 0 s to 18 s", "crashes"]
    # Without times: a schedule or a walk.
    assert _chart(*(each._replace(at_s=None) for each in begun)) == [asked, "the row above x 37"]
    # Twice is drawn twice.
    assert _chart(_asked(0.0, 1), _asked(1.0, 1), _crash(1)) == [asked, asked, "crashes"]


def test_a_turn_of_rows_that_is_taken_again_is_drawn_once():
    turns = [each for number in range(5) for each in (_asked(number * 60.0, 1), _crash(1), _crash(2))]
    assert _chart(_crash(3), *turns, _asked(900.0, 2)) == [
        "crashes",
        *('decide "d" = "a"', "crashes", "crashes"),
        "the 3 rows above x 5",  # a crash has no time here
        'decide "d" = "a"',
    ]


def test_clients_that_try_again_each_at_its_own_times_are_drawn_once():
    nodes = (1, 2, 2, 1, 3, 1, 1, 3, 2, 3, 3, 3, 1, 2)
    asked = [_asked(100.0 + number, node, b"%d" % node) for number, node in enumerate(nodes)]
    assert _chart(*asked, _crash(1)) == [
        *(f'decide "d" = "{node}"' for node in (1, 2, 3)),
        "the 3 rows above x 14 in all, in some order, from 100 s to 113 s",
        "crashes",
    ]
    # Each of them only once or twice: nobody tries again.
    others = [_asked(1.0, 1, b"%d" % value) for value in range(6)]
    assert len(_chart(*others, *others)) == 12


def test_a_run_that_waits_for_ever_shows_how_it_got_there():
    work = Workload(operations=1, names=1, reads=0.0, clients=1)
    scenario = Scenario("tests.planted:deaf", nodes=1, workload=work, duration_s=1.0, grace_s=90.0)
    chart = chart_of(scenario.run(record=True))
    text = text_chart(chart)
    lines = [line for line in text.splitlines() if "own " in line or "decide" in line]
    assert len(lines) < 8
    assert re.search(r"the row above x \d+, from [\d.]+ s to (89|9\d)[\d.]* s", text)
    assert any("the row above x " in each for each in _texts(svg_chart(chart)))
    assert "VIOLATED  Liveness" in text


def test_the_times_of_steps_are_those_of_the_trace():
    faults = Faults(
        loss=0.1, crashes=[Crash(0.3, 2, 0.4)], wipes=[Wipe(0.8, 3, 0.2)], pauses=[Pause(0.1, 1, 0.2)]
    )
    scenario = Scenario(nodes=4, faults=faults, workload=Workload(operations=9), duration_s=2.0)
    plain, played = scenario.run(), scenario.run(record=True)
    assert played.result == plain.result
    times = [record.at_s for record in played.records if record.at_s is not None]
    assert len(times) == len(played.records)
    assert times == sorted(times)
    begun = {
        round(at_s, 6)
        for at_s, record in zip(times, played.records, strict=True)
        if record.action == "request"
    }
    assert {round(each.call_s, 6) for each in plain.result.operations} & begun
    crash = next(record for record in played.records if record.action == "crash" and record.node == 2)
    assert crash.at_s == pytest.approx(0.3)


def test_the_tip_of_an_arrow_stays_when_its_words_are_cut():
    chart = Chart(
        ("a", "b"), (ChartEvent("arrow", "a", "x" * 99, "b"), ChartEvent("arrow", "b", "x" * 99, "a"))
    )
    _, right, left = text_chart(chart).splitlines()
    assert "►" in right
    assert "◄" in left


@pytest.mark.parametrize("text", ["<&>\"'", "ü" * 300, "", "a\tb"])
def test_any_text_can_be_drawn(text):
    events = (
        ChartEvent("arrow", "a", text, "b"),
        ChartEvent("arrow", "b", text, "a"),
        ChartEvent("note", "b", text),
        ChartEvent("decide", "a", text),
        ChartEvent("crash", "a", text),
        ChartEvent("restart", "a", text),
        ChartEvent("gap", "a", text),
    )
    chart = Chart(("a", "b"), events, text, text)
    assert ElementTree.fromstring(svg_chart(chart)) is not None
    assert max(map(len, text_chart(chart).splitlines())) < 400
    assert text_chart(attrs.evolve(chart, events=())).count("\n") >= 1
