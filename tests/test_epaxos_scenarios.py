"""EPaxos led by hand: what was got wrong once, and what a reader of the rules asks about."""

import pytest

from epaxos import EPaxosSettings
from tests.epaxos_net import Net

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once


@pytest.mark.parametrize("block", [1, 2, 3, 256])
def test_numbers_never_run_out(block: int) -> None:
    net = Net(3, settings=EPaxosSettings(reserve_numbers=block))
    for number in range(20):
        net.write(1, b"k")
        net.run()
        assert len(net.applied(1)) == number + 1
    net.check()
