"""Charts: a run as a picture in which one sees the bug."""

import xml.etree.ElementTree as ElementTree

import attrs
import pytest

from paxos.check.chart import CLIENTS, Chart, ChartEvent, chart_of, text_chart
from paxos.check.chart_svg import svg_chart
from paxos.check.scenario import Scenario
from paxos.sim import Crash, Faults, Workload

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


def test_long_runs_show_their_end():
    played = Scenario(workload=Workload(operations=30), duration_s=1.0).run(record=True)
    chart = chart_of(played, most=50)
    assert len(chart.events) == 51
    assert "rows before are left out" in text_chart(chart)
    assert "rows before are left out" in svg_chart(chart)


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
