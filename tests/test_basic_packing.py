"""Records are put together by hand for speed, and are byte for byte what the encoder makes of the fields."""

import itertools

import pytest

from paxos.ballot import BOTTOM, Ballot
from paxos.basic.acceptor import AcceptorRecord
from paxos.basic.records import pack_acceptor, pack_chosen
from paxos.wire import encode_record

BALLOTS = (Ballot(0, 1), Ballot(1, 24, 255), Ballot(1 << 47, (1 << 31) - 1, 65_535))
# One for each length of a head in CBOR.
VALUES = (b"", b"v" * 23, b"v" * 24, b"v" * 255, b"v" * 256, b"v" * 65_536)


@pytest.mark.parametrize(("ballot", "value"), list(itertools.product(BALLOTS, VALUES)))
def test_a_decision(ballot: Ballot, value: bytes) -> None:
    assert pack_chosen(ballot, value) == encode_record(3, 1, (tuple(ballot), value))


@pytest.mark.parametrize(("promised", "vote"), list(itertools.product(BALLOTS, (BOTTOM, *BALLOTS))))
def test_a_promise_and_a_vote(promised: Ballot, vote: Ballot) -> None:
    for value in (None,) if vote == BOTTOM else VALUES:
        fields = (tuple(promised), None if vote == BOTTOM else tuple(vote), value)
        assert pack_acceptor(AcceptorRecord(promised, vote, value)) == encode_record(2, 1, fields)


@pytest.mark.parametrize(("vote", "value"), [(Ballot(1, 1), None), (BOTTOM, b"v"), (BOTTOM, b"")])
def test_half_a_vote_is_not_written(vote: Ballot, value: bytes | None) -> None:
    with pytest.raises(ValueError, match="both a ballot and a value, or neither"):
        pack_acceptor(AcceptorRecord(Ballot(3, 1), vote, value))
