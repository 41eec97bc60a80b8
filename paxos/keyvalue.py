"""The key-value machine's words: what builds its requests, and what reads its answers.

`Client.put` and the other calls do both. The builders are for several requests at once, with
`Client.submit_many` and `Client.transaction`:

    from paxos import keyvalue

    ran = await client.transaction(
        [keyvalue.equals(b"stock", b"1"), keyvalue.absent(b"sold")],
        then=[keyvalue.put(b"stock", b"0"), keyvalue.put(b"sold", b"alice")],
        otherwise=[keyvalue.get(b"sold")],
    )
    if not ran.held:
        buyer = keyvalue.got(ran.answers[0])

Each builder (`put`, `get`, `delete`, `cas`, `increment`, `scan`, `transaction`) has a reader of its answer
(`stored`, `got`, `deleted`, `swapped`, `incremented`, `scanned`, `ran`); `equals`, `absent` and `exists` make
the guards of a transaction.
"""

from paxos.service.keyvalue_answers import (
    Change,
    Items,
    Ran,
    deleted,
    got,
    incremented,
    ran,
    scanned,
    stored,
    swapped,
)
from paxos.service.keyvalue_requests import (
    MAX_DELTA,
    MAX_LIMIT,
    MAX_OPERATIONS,
    Guard,
    absent,
    cas,
    delete,
    equals,
    exists,
    get,
    increment,
    put,
    scan,
    transaction,
)

__all__ = [
    "MAX_DELTA",
    "MAX_LIMIT",
    "MAX_OPERATIONS",
    "Change",
    "Guard",
    "Items",
    "Ran",
    "absent",
    "cas",
    "delete",
    "deleted",
    "equals",
    "exists",
    "get",
    "got",
    "increment",
    "incremented",
    "put",
    "ran",
    "scan",
    "scanned",
    "stored",
    "swapped",
    "transaction",
]
