"""The specification of Fast Paxos: its models find mistakes, and traces of the code are behaviours of it."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Final

import attrs
import pytest

from fastpaxos import FastPaxosSettings, protocol
from fastpaxos.tracing import ACTIONS, SPECIFICATION
from paxos.check.spec import check_model, load_models, spec_directory
from paxos.check.spec_runs import simulated_traces
from paxos.check.spec_traces import Trace, check_traces
from paxos.cli import main
from paxos.contract import ProtocolDescription
from paxos.errors import ConfigurationError
from tests.mutants.build import described
from tests.mutants.fastpaxos_patches import FASTPAXOS
from tests.tlc import copy_specs, require_tlc

_MODELS: Final = {model.name: model for model in load_models()}
_HERE: Final = "  None = None\n"


def _instead(what: str) -> tuple[str, str]:
    return _HERE, f"{_HERE}  {what}\n"


#: The model, what is replaced in its .cfg and by what, and what is violated.
_MISTAKES: Final[dict[str, tuple[str, list[tuple[str, str]], str]]] = {
    "the value that most voted for": (
        "fastpaxos-weighted",
        [_instead("Allowed <- MostFrequent")],
        "AcceptSafe",
    ),
    "the only value is left where no quorum can have voted for it": (
        "fastpaxos-three-rounds",
        [_instead("Allowed <- ChoosableOnly"), (" PickRule PickUnique ", " ")],
        "AcceptSafe",
    ),
    "Any though something binds": ("fastpaxos-any", [_instead("Phase2aAny <- AnyAnyway")], "AnyOnlyIfFree"),
    "a vote is replaced": ("fastpaxos-any", [_instead("VoteFast <- VoteReplaced")], "OneVotePerRound"),
    "a fast quorum of majority size": (
        "fastpaxos-coordinated",
        [("FastSize = 3", "FastSize = 2")],
        "Assumption",
    ),
    "recovery at the next round from old votes": (
        "fastpaxos-coordinated",
        [
            _instead("ByVotes <- OldVotes"),
            ("Outcomes <- AllOutcomes", "Outcomes <- Split"),
            ("{n1, n2, n3, n4}", "{n1, n2, n3, n4, n5}"),
            ("FastSize = 3", "FastSize = 4"),
            ("Rounds = 2", "Rounds = 3"),
            (" PickRule ", " "),
            ("SYMMETRY Alike\n", ""),
        ],
        "AcceptSafe",
    ),
    "votes added over rounds": (
        "fastpaxos-outbid",
        [
            _instead("Voters <- AllVoters"),
            ("Outcomes <- AllOutcomes", "Outcomes <- OneVoted"),
            (
                "  CountVote <- Never\n",
                "  Refuse <- Never\n  RepeatPromise <- Never\n  RepeatVote <- Never\n",
            ),
            ("  Learn <- NeverThree\n", ""),
            ("ACTION_CONSTRAINT NotAtTheLast\n", ""),
        ],
        "FastChosen",
    ),
    "a proposal leaves before the own vote is on disk": (
        "fastpaxos-one-node",
        [_instead("Put <- PutAtOnce")],
        "DurableBeforeSend",
    ),
}


@pytest.mark.once
@pytest.mark.parametrize("mistake", _MISTAKES)
def test_a_mistake_is_found(tmp_path: Path, mistake: str) -> None:
    tlc = require_tlc()
    name, changes, violated = _MISTAKES[mistake]
    model = _MODELS[name]

    def edit(file: str, text: str) -> str:
        for old, new in changes if file == model.config else ():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        return text

    result = check_model(tlc, model, directory=copy_specs(tmp_path, edit), timeout_s=300)
    assert result.verdict == "violated", result.sentence
    assert violated in result.sentence


# --- traces ---------------------------------------------------------------------------------------

#: What so few runs need not come to.
_SELDOM: Final = {"Free", "LearnNews", "Phase2aAny", "TakeAny"}


def test_specification_and_code_have_the_same_actions() -> None:
    assert protocol.specification is SPECIFICATION
    assert SPECIFICATION.actions.keys() - {"Persist"} == ACTIONS
    text = (spec_directory() / "FastPaxos.tla").read_text(encoding="utf-8")
    following = text[text.index("\nNext ==") : text.index("\nSpec ==")]
    assert set(re.findall(r"\b([A-Z]\w+)\(", following)) == SPECIFICATION.actions.keys()


@pytest.mark.once
def test_traces_of_runs_with_collisions_are_behaviours(capsys: pytest.CaptureFixture[str]) -> None:
    require_tlc()
    assert main(["spec", "--traces", "--protocol", "fastpaxos", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"]
    assert told["traces"] == 200
    assert told["shortest"] >= 100
    assert ACTIONS - _SELDOM <= told["actions"].keys() <= ACTIONS
    assert told["actions"]["RecoverVote"] >= 5
    assert told["actions"]["Phase2a"] >= 50
    assert told["actions"]["Restart"] >= 50


def _with(recovery: str) -> ProtocolDescription:
    """Fast Paxos whose runs recover so, whatever their size."""

    def settings(nodes: int) -> FastPaxosSettings:
        usual = SPECIFICATION.traces.settings
        assert usual is not None
        made = usual(nodes)
        assert isinstance(made, FastPaxosSettings)
        return attrs.evolve(made, recovery=recovery)

    form = attrs.evolve(SPECIFICATION.traces, settings=settings)
    return attrs.evolve(protocol, specification=attrs.evolve(SPECIFICATION, traces=form))


@pytest.mark.once
def test_both_recoveries_at_four_and_five_nodes() -> None:
    tlc = require_tlc()
    seen: Counter[str] = Counter()
    for recovery, nodes in (("uncoordinated", 4), ("uncoordinated", 5), ("coordinated", 4)):
        traces = simulated_traces(_with(recovery), nodes=nodes, count=10)
        report = check_traces(tlc, traces, "fastpaxos", explain=1)
        assert report.rejections == ()
        seen.update(report.actions)
    assert seen["RecoverVote"]
    assert seen["Learn"]


def test_clusters_that_recover_differently_can_not_be_walked_together() -> None:
    traces = [
        trace
        for recovery in ("coordinated", "uncoordinated")
        for trace in simulated_traces(_with(recovery), nodes=4, count=1, min_events=20)
    ]
    with pytest.raises(ConfigurationError, match=r"last fast steps are \[0, 3\]"):
        check_traces(require_tlc(), traces, "fastpaxos")


#: Mistakes that many runs show, and actions that then can not be what they say.
_REJECTED: Final = {
    "majority_is_a_fast_quorum": {"Learn"},
    "votes_added_over_rounds": {"Learn"},
    "second_vote_in_a_fast_round": {"RepeatVote"},
    "asked_value_answered": {"RepeatVote"},
    "vote_in_a_ballot_not_open": {"Phase2b", "Refuse"},
    "any_though_constrained": {"Phase2aAny"},
    "lone_value_not_binding": {"Phase2a"},
    "pick_from_too_few": {"Phase2a", "RecoverVote", "Phase2aAny"},
}


@pytest.mark.once
def test_traces_of_mistakes_are_rejected() -> None:
    tlc = require_tlc()
    planted = [mutant for mutant in FASTPAXOS if mutant.name in _REJECTED]
    traces: list[Trace] = []
    for mutant in planted:
        found = simulated_traces(described(mutant), nodes=3, count=10, min_events=40)
        traces += [attrs.evolve(trace, origin=mutant.name) for trace in found]
    report = check_traces(tlc, traces, "fastpaxos", explain=1)
    actions: dict[str, set[str]] = {}
    for rejection in report.rejections:
        actions.setdefault(rejection.origin, set()).add(rejection.what["action"])
    for name, wanted in _REJECTED.items():
        assert actions.get(name, set()) & wanted, (name, actions)
    assert "mem[" in str(report.rejections[0])
