"""A bank: a state machine of one's own, replicated. Run it: `python examples/bank.py`.

The whole machine is the class `Bank`. Five methods make it one: what a command does (`apply`), what a query
is answered (`query`), which accounts either touches (`footprint`), and the whole state as bytes and back
(`snapshot`, `restore`). It knows nothing of nodes, disks or networks, and each replica has one.

A cluster of processes finds it by its name, in cluster.toml:

    [cluster]
    id = "bank"
    protocol = "multipaxos"
    machine = "bank:Bank"           # a module that every node can import, and a class in it
"""

import json
import random

import anyio

import paxos

ACCOUNTS = ("alice", "bob", "carol", "dave")
#: What an account is opened with is less than this: sums of numbers without end could not be written down.
LIMIT = 10**12


class Bank:
    """Accounts with whole amounts. Money is paid in once, and then only moves: the total never changes."""

    def __init__(self) -> None:
        self.balances: dict[str, int] = {}

    def apply(self, command: bytes) -> bytes:
        """Carry out `["open", account, amount]` or `["move", from, to, amount]`; the answer says how it went.

        What makes no sense is answered, too, and what nests deeper than Python reads: whatever is raised here
        would stop every node.
        """
        try:
            match json.loads(command):
                case ["open", str(account), int(amount)] if 0 <= amount < LIMIT:
                    if account in self.balances:
                        return b"refused"
                    self.balances[account] = amount
                    return b"done"
                case ["move", str(payer), str(payee), int(amount)] if amount > 0:
                    if payee not in self.balances or self.balances.get(payer, 0) < amount:
                        return b"refused"
                    self.balances[payer] -= amount
                    self.balances[payee] += amount
                    return b"done"
        except (ValueError, RecursionError):
            pass
        return b"refused"

    def query(self, query: bytes) -> bytes:
        """All balances, whatever is asked."""
        return json.dumps(self.balances, sort_keys=True).encode()

    def footprint(self, command: bytes) -> paxos.Footprint:
        """Which accounts a command reads and writes; what it is not sure of touches everything."""
        try:
            match json.loads(command):
                case ["open", str(account), int(_)]:
                    return paxos.Footprint((account.encode(),), (account.encode(),))
                case ["move", str(payer), str(payee), int(_)]:
                    both = tuple(sorted({payer.encode(), payee.encode()}))
                    return paxos.Footprint(both, both)
        except (ValueError, RecursionError):
            pass
        return paxos.ALL

    def snapshot(self) -> bytes:
        """The whole state."""
        return json.dumps(self.balances).encode()

    def restore(self, snapshot: bytes) -> None:
        """Become what the snapshot says."""
        self.balances = json.loads(snapshot)


def command(*words: str | int) -> bytes:
    """A command or query of the bank."""
    return json.dumps(words).encode()


async def transfer_at_random(client: paxos.Client, draw: random.Random, times: int) -> int:
    """So many transfers; how many were done."""
    done = 0
    for _ in range(times):
        payer, payee = draw.sample(ACCOUNTS, 2)
        try:
            done += await client.submit(command("move", payer, payee, draw.randint(1, 50))) == b"done"
        except (paxos.OutcomeUnknown, paxos.Rejected, paxos.Unreachable) as error:
            print(f"not known, or not done: {error}")
    return done


async def main() -> None:
    """Transfers at three nodes, while one of them stops and comes back."""
    async with paxos.open_cluster("multipaxos", nodes=3, machine=Bank) as cluster:
        client = cluster.client()
        await client.submit_many([command("open", account, 100) for account in ACCOUNTS])

        async def teller(node: int) -> None:
            done = await transfer_at_random(cluster.client(node), random.Random(node), 100)
            print(f"node {node}: {done} done")

        async def mishap() -> None:
            await anyio.sleep(0.2)
            await cluster.stop_node(1)
            await anyio.sleep(0.2)
            await cluster.start_node(1)

        async with anyio.create_task_group() as group:
            for node in (1, 2, 3):
                group.start_soon(teller, node)
            group.start_soon(mishap)
        for node in (1, 2, 3):
            balances = json.loads(await cluster.client(node).query(b"balances"))
            print(f"node {node}: {balances}, total {sum(balances.values())}")
            assert sum(balances.values()) == 100 * len(ACCOUNTS)


if __name__ == "__main__":
    anyio.run(main)
