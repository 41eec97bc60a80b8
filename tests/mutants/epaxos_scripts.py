"""Schedules that random search does not find, or not soon: each shows one mistake in EPaxos, or several.

Members are 1 to n, so the owner of the lowest rank is 1. The sound protocol goes through all of them.
"""

from typing import Final

from epaxos.messages import (
    Accept,
    AcceptOK,
    PreAccept,
    PreAcceptOK,
    Recover,
    RecoverOK,
    Validate,
)
from tests.epaxos_net import Sent, reads, writes
from tests.epaxos_script import Played, Script
from tests.mutants.epaxos_barriers import BARRIERS

__all__ = ["SCRIPTS"]


# --- the fast path, and what a recovery makes of it -------------------------------------------------


def a_fast_commit(s: Script) -> None:
    """n = 3: an instance is committed on the fast path, and everybody told."""
    y = s.ask(1)
    s.preaccept(y, 2)
    s.commit(y, 1, 2, 3)
    s.settle(1, 2, 3)


def a_slow_commit(s: Script) -> None:
    """n = 3: two owners at once; 2 answers each what it knows of the other's."""
    x = s.ask(3)
    y = s.ask(1)
    s.preaccept(x, 2)
    s.preaccept(y, 2)
    s.carry(PreAccept, y, 1, 3)
    s.carry(PreAcceptOK, y, 3, 1)
    s.accept(y, 1, 2, 3)
    s.commit(y, 1, 2, 3)
    s.settle(1, 2, 3)


def only_the_owner_knows(s: Script) -> None:
    """n = 3: the owner commits on the fast path with 2, and tells nobody; it dies, and is recovered."""
    y = s.ask(1)
    s.preaccept(y, 2)
    s.kill(1)
    s.recover(y, 3, 2)
    s.validate(y, 3, 2)
    s.accept(y, 3, 2)
    s.dead.clear()
    s.settle(1, 2, 3)


def asked_again(s: Script) -> None:
    """n = 3: 2 answers the same question twice, and has heard of a conflict in between."""
    y = s.ask(1)
    s.preaccept(y, 2)
    x = s.ask(3)
    s.carry(PreAccept, x, 3, 2)
    s.late(PreAccept, y, 1, 2)
    s.recover(y, 3, 2)
    s.validate(y, 3, 2)
    s.accept(y, 3, 2)
    s.commit(y, 3, 1, 2)
    s.settle(1, 2, 3)


def answered_twice(s: Script) -> None:
    """n = 5: one answer arrives three times."""
    y = s.ask(1)
    s.carry(PreAccept, y, 1, 2)
    for _ in range(3):
        s.carry(PreAcceptOK, y, 2, 1)
    s.settle(1, 2, 3, 4, 5)


def asked_too_late(s: Script) -> None:
    """n = 3: the only one that pre-accepted knew more than it was asked about."""
    x = s.ask(3)
    s.carry(PreAccept, x, 3, 2)
    y = s.ask(1)
    s.carry(PreAccept, y, 1, 2)
    s.kill(1)
    s.recover(y, 3, 2)
    s.validate(y, 3, 2)
    s.accept(y, 3, 2)
    s.dead.clear()
    s.settle(1, 2, 3)


def four_of_seven(s: Script) -> None:
    """n = 7: a classic quorum agrees, which is no fast one."""
    y = s.ask(1)
    s.preaccept(y, 2, 3, 4)
    s.settle(1, 2, 3, 4, 5, 6, 7)


def voted_twice(s: Script) -> None:
    """n = 5: on the slow path, and in a recovery, one vote arrives three times."""
    y = s.ask(1)
    x = s.ask(5)
    for inst in (x, y):
        s.preaccept(inst, 2)
    s.preaccept(y, 3, 4)
    s.carry(Accept, y, 1, 2)
    for _ in range(3):
        s.carry(AcceptOK, y, 2, 1)
    s.recover(x, 4, 2, 3)
    s.validate(x, 4, 2, 3)
    s.carry(Accept, x, 4, 2)
    for _ in range(3):
        s.carry(AcceptOK, x, 2, 4)
    s.settle(1, 2, 3, 4, 5)


def an_observer_answers(s: Script) -> None:
    """n = 3 and an observer: what was meant for a member comes to the observer, and it answers."""
    y = s.ask(1)
    for sent in list(s.sent):
        if sent[:2] == (1, 2) and isinstance(sent.message, PreAccept):
            s.hand_over(Sent(1, 4, sent.message))
    s.carry(PreAcceptOK, y, 4, 1)
    s.settle(1, 2, 3, 4)


def a_report_of_an_observer(s: Script) -> None:
    """n = 3 and an observer: it answers a recovery that was meant for a member."""
    y = s.ask(1)
    s.recover(y, 3)
    for sent in list(s.sent):
        if sent[:2] == (3, 2) and isinstance(sent.message, Recover):
            s.hand_over(Sent(3, 4, sent.message))
    s.carry(RecoverOK, y, 4, 3)
    s.settle(1, 2, 3, 4)


def a_slow_disk(s: Script) -> None:
    """n = 3: 2 pre-accepts, accepts and joins before its disk has it, and restarts without it."""
    y = s.ask(1)
    s.slow.add(2)
    s.carry(PreAccept, y, 1, 2)
    s.carry(PreAcceptOK, y, 2, 1)
    s.forget(2)
    x = s.ask(3)
    s.preaccept(x, 1)
    s.slow.add(2)
    s.carry(Accept, x, 3, 2)
    s.carry(AcceptOK, x, 2, 3)
    s.forget(2)
    s.slow.add(2)
    s.recover(y, 3, 2)
    s.forget(2)
    s.settle(1, 2, 3)


def an_owner_with_a_slow_disk(s: Script) -> None:
    """n = 3: the owner tells of its fast commit, and restarts without it."""
    y = s.ask(1)
    s.slow.add(1)
    s.preaccept(y, 2)
    s.commit(y, 1, 2)
    s.forget(1)
    s.recover(y, 3, 1, 3)
    s.accept(y, 3, 1, 3)
    s.settle(1, 2, 3)


def an_owner_forgets(s: Script) -> None:
    """n = 5: an owner sends its PreAccept, and restarts without a record of it."""
    s.slow.add(1)
    y = s.ask(1)
    s.carry(PreAccept, y, 1, 2)
    s.carry(PreAccept, y, 1, 3)
    s.forget(1)
    x = s.ask(4)
    s.preaccept(x, 1, 5)
    s.settle(2, 3, 5)


def an_owner_resumes(s: Script) -> None:
    """n = 3: an owner proposed a union, restarts, and hears more answers to what it asked first."""
    s.ask(3)
    y = s.ask(1)
    s.preaccept(y, 3)
    s.carry(PreAccept, y, 1, 2)
    s.carry(Accept, y, 1, 3)
    s.restart(1)
    s.carry(PreAcceptOK, y, 2, 1)
    s.settle(2, 3)


def a_number_again(s: Script) -> None:
    """n = 3: an owner restarts, and submits something else."""
    s.slow.add(1)
    y = s.ask(1)
    s.carry(PreAccept, y, 1, 2)
    s.forget(1)
    s.ask(1, writes(b"other"))
    s.settle(1, 2, 3)


# --- the slow path, and recoveries -------------------------------------------------------------------


def three_ballots(s: Script) -> None:
    """n = 5: accepted at ballot 0 by two, and a no-op at a higher one by three: that is decided."""
    x = s.ask(5)
    s.preaccept(x, 2, 4)
    y = s.ask(1)
    s.preaccept(y, 2, 4)
    s.carry(Accept, y, 1, 2)
    s.recover(y, 3, 4, 5)
    s.carry(Accept, y, 3, 4)
    s.carry(Accept, y, 3, 5)
    s.recover(y, 4, 2, 5)
    s.accept(y, 4, 2, 5)
    s.settle(1, 2, 3, 4, 5)


def sutra(s: Script) -> None:
    """n = 3: joining a ballot is not voting at it.

    1 accepted its own union at ballot 0, and hears of a recovery that ends nowhere; 3 accepted a no-op at a
    ballot between, of a recovery that had not heard of that; what was voted for last is 3's. After Sutra, *On
    the correctness of Egalitarian Paxos*, section 3.
    """
    x = s.ask(3)
    y = s.ask(1)
    s.preaccept(x, 2)
    s.carry(PreAccept, y, 1, 2)
    s.carry(PreAcceptOK, y, 2, 1)  # depends on x: the slow path, and 1 votes for it at ballot 0
    s.recover(y, 3, 2)  # 1.3: one of two agrees, none of them exactly, so a no-op
    s.accept(y, 3, 2)  # decided: 2 and 3 voted at 1.3
    s.recover(y, 1)  # 1.1 joined by 1 alone
    s.carry(Recover, y, 1, 3)
    s.recover(y, 1)
    s.recover(y, 2, 1)  # joined by 1 above 1.3, where it did not vote
    s.accept(y, 2, 1)
    s.settle(1, 2, 3)


def one_too_few(s: Script) -> None:
    """n = 5: a conflict that only the third answer knows of."""
    x = s.ask(5)
    s.preaccept(x, 4, 3)
    z = s.ask(4)
    s.carry(PreAccept, z, 4, 2)
    y = s.ask(1)
    s.preaccept(y, 2, 3)
    s.accept(y, 1, 2, 3)
    s.settle(1, 2, 3, 4, 5)


def a_nack_for_a_vote(s: Script) -> None:
    """n = 3: one recovery is overtaken by another, and is told so."""
    y = s.ask(1)
    s.carry(PreAccept, y, 1, 2)
    s.recover(y, 2, 1)  # the owner is in it: a no-op, voted for by 2 alone
    s.recover(y, 3, 1)
    s.carry(Accept, y, 2, 1)
    for sent in list(s.sent):
        if sent[:2] == (1, 2) and type(sent.message).__name__ == "Nack":
            s.hand_over(sent)
    s.settle(1, 2, 3)


def late_validate(s: Script) -> None:
    """n = 3: a Validate comes twice, once after the Accept."""
    y = s.ask(1)
    s.carry(PreAccept, y, 1, 2)
    s.ask(3)
    s.recover(y, 2, 3)
    s.validate(y, 2, 3)
    s.carry(Recover, y, 2, 1)
    s.carry(RecoverOK, y, 1, 2)
    s.accept(y, 2, 3)
    s.carry(Validate, y, 2, 3)
    s.settle(1, 3)


def validate_after_commit(s: Script) -> None:
    """n = 3: a Validate comes after what was decided was heard of."""
    y = s.ask(1)
    s.carry(PreAccept, y, 1, 2)
    s.ask(3)
    s.recover(y, 2, 3)
    s.recover(y, 2, 3)
    s.carry(Recover, y, 2, 1)
    s.carry(RecoverOK, y, 1, 2)
    s.carry(Accept, y, 2, 1)
    s.carry(AcceptOK, y, 1, 2)
    s.commit(y, 2, 3, 1)
    s.carry(Validate, y, 2, 3)
    s.settle(1, 3)


def nothing_contradicts_yet(s: Script) -> None:
    """n = 5: what speaks against a recovery is known to one of those that are asked."""
    y = s.ask(1)
    s.carry(PreAccept, y, 1, 2)
    x = s.ask(5)
    s.preaccept(x, 4, 3)  # fast at 3, 4, 5, without y
    s.commit(x, 5, 4)
    s.kill(1, 5)
    s.recover(y, 2, 3, 4)
    s.validate(y, 2, 3, 4)
    s.accept(y, 2, 3, 4)
    s.dead.clear()
    s.settle(1, 2, 3, 4, 5)


def an_owner_is_counted(s: Script) -> None:
    """n = 5: two recoveries wait for each other; the owner of one is asked, of the other it is not."""
    y = s.ask(1)
    s.preaccept(y, 2)
    x = s.ask(3)
    s.preaccept(x, 4, 5)
    s.recover(y, 2, 1, 4)
    s.validate(y, 2, 1, 4)
    s.recover(x, 4, 2, 5)
    s.validate(x, 4, 2, 5)
    s.waiting(y, 2, 4)
    s.accept(x, 4, 2, 5)
    s.settle(1, 2, 3, 4, 5)


def waits_and_loses(s: Script) -> None:
    """n = 5: a recovery waits for an instance that is then committed without it."""
    x = s.ask(5)
    s.carry(PreAccept, x, 5, 3)
    s.carry(PreAccept, x, 5, 4)
    y = s.ask(1)
    s.carry(PreAccept, y, 1, 2)
    s.kill(1)
    s.recover(y, 2, 3, 5)  # one agrees, and the owner of x is asked: it waits for x
    s.validate(y, 2, 3, 5)
    s.carry(PreAcceptOK, x, 3, 5)
    s.carry(PreAcceptOK, x, 4, 5)
    s.commit(x, 5, 2)
    s.accept(y, 2, 3, 5)
    s.dead.clear()
    s.settle(1, 2, 3, 4, 5)


def waits_in_vain(s: Script) -> None:
    """n = 5: one that waits with one that agrees is no reason to give up: what it waits for is committed."""
    x = s.ask(3)
    s.carry(PreAccept, x, 3, 4)
    s.carry(PreAccept, x, 3, 5)
    y = s.ask(1)
    s.carry(PreAccept, y, 1, 2)
    s.kill(1)
    s.recover(y, 2, 3, 4)
    s.validate(y, 2, 3, 4)
    s.carry(PreAcceptOK, x, 4, 3)
    s.carry(PreAcceptOK, x, 5, 3)
    s.kill(3)
    s.recover(x, 4, 2, 5)
    s.validate(x, 4, 2, 5)
    s.waiting(y, 2, 4)
    s.accept(x, 4, 2, 5)
    s.dead.clear()
    s.settle(1, 2, 3, 4, 5)


def two_wait(s: Script) -> None:
    """n = 5: two recoveries wait for each other, of which one was committed on the fast path."""
    y = s.ask(1)
    s.preaccept(y, 2)
    x = s.ask(3)
    s.preaccept(x, 4, 5)
    s.kill(1, 3)
    s.dead.discard(3)
    s.dead.discard(1)
    s.recover(y, 2, 4, 5)
    s.validate(y, 2, 4, 5)
    s.recover(x, 4, 2, 5)
    s.validate(x, 4, 2, 5)
    s.waiting(y, 2, 4)
    s.waiting(x, 4, 2)
    s.accept(x, 4, 2, 5)
    s.accept(y, 2, 4, 5)
    s.settle(1, 2, 3, 4, 5)


# --- what is known of conflicts ----------------------------------------------------------------------


def three_writers(s: Script) -> None:
    """n = 3: three write one key, one after the other, at three owners."""
    for node, other in ((1, 2), (2, 3), (3, 1)):
        inst = s.ask(node)
        s.preaccept(inst, other)
        s.commit(inst, node, 1, 2, 3)
    s.settle(1, 2, 3)


def known_by_hearsay(s: Script) -> None:
    """n = 5: 3 and 4 know of y by its recovery alone, and are asked about what conflicts."""
    y = s.ask(1)
    s.carry(PreAccept, y, 1, 2)
    s.kill(1)
    s.recover(y, 2, 3, 4)
    s.validate(y, 2, 3, 4)
    s.accept(y, 2, 3, 4)
    z = s.ask(5)
    s.preaccept(z, 3, 4)
    s.dead.clear()
    s.settle(1, 2, 3, 4, 5)


def a_no_op_that_loses(s: Script) -> None:
    """n = 5: who pre-accepted y accepts a no-op for it, restarts, and is asked what conflicts; y wins."""
    w = s.ask(3)
    s.carry(PreAccept, w, 3, 2)
    y = s.ask(1)
    s.preaccept(y, 2, 3)  # 1 proposes what all three know, and votes for it
    s.recover(y, 4, 2, 5)  # 2 knows more than it was asked about: a no-op
    s.accept(y, 4, 2)
    s.restart(2)
    z = s.ask(4)
    s.preaccept(z, 2, 5)
    s.accept(z, 4, 2, 5)
    s.recover(y, 5, 1, 3)
    s.accept(y, 5, 1, 3)
    s.settle(1, 2, 3, 4, 5)


def a_reader_and_a_barrier(s: Script) -> None:
    """n = 3: a read is committed, and then a barrier."""
    r = s.ask(2, reads(b"k"))
    s.preaccept(r, 3)
    b = s.bar(1)
    s.preaccept(b, 3)
    s.accept(b, 1, 3)
    s.settle(1, 2, 3)


# --- execution -------------------------------------------------------------------------------------------


def a_gap(s: Script) -> None:
    """n = 3: y depends on x, and 1 hears of y first."""
    x = s.ask(2)
    s.preaccept(x, 3)
    y = s.ask(3)
    s.preaccept(y, 2)
    s.accept(y, 3, 2)
    s.commit(y, 3, 1)
    s.carry(PreAccept, y, 3, 1)
    s.commit(y, 3, 1)
    s.settle(1, 2, 3)


def a_component(s: Script) -> None:
    """n = 3: two depend on each other, and come to be known in either order."""
    y = s.ask(1)
    x = s.ask(2)
    s.carry(PreAccept, y, 1, 2)
    s.carry(PreAccept, x, 2, 1)
    s.carry(PreAcceptOK, y, 2, 1)
    s.carry(PreAcceptOK, x, 1, 2)
    s.accept(y, 1, 2, 3)
    s.accept(x, 2, 1, 3)
    s.commit(x, 2, 3, 1)
    s.commit(y, 1, 3, 2)
    s.settle(1, 2, 3)


#: All of them, by name.
SCRIPTS: Final[dict[str, Played]] = {
    "a_fast_commit": Played(a_fast_commit),
    "a_slow_commit": Played(a_slow_commit),
    "only_the_owner_knows": Played(only_the_owner_knows),
    "asked_again": Played(asked_again),
    "answered_twice": Played(answered_twice, 5),
    "asked_too_late": Played(asked_too_late),
    "four_of_seven": Played(four_of_seven, 7),
    "waits_in_vain": Played(waits_in_vain, 5),
    "voted_twice": Played(voted_twice, 5),
    "an_observer_answers": Played(an_observer_answers, observers=(4,)),
    "a_report_of_an_observer": Played(a_report_of_an_observer, observers=(4,)),
    "a_slow_disk": Played(a_slow_disk),
    "an_owner_with_a_slow_disk": Played(an_owner_with_a_slow_disk),
    "an_owner_forgets": Played(an_owner_forgets, 5),
    "an_owner_resumes": Played(an_owner_resumes),
    "a_number_again": Played(a_number_again),
    "three_ballots": Played(three_ballots, 5),
    "sutra": Played(sutra),
    "one_too_few": Played(one_too_few, 5),
    "a_nack_for_a_vote": Played(a_nack_for_a_vote),
    "late_validate": Played(late_validate),
    "validate_after_commit": Played(validate_after_commit),
    "nothing_contradicts_yet": Played(nothing_contradicts_yet, 5),
    "an_owner_is_counted": Played(an_owner_is_counted, 5),
    "waits_and_loses": Played(waits_and_loses, 5),
    "two_wait": Played(two_wait, 5),
    "three_writers": Played(three_writers),
    "known_by_hearsay": Played(known_by_hearsay, 5),
    "a_no_op_that_loses": Played(a_no_op_that_loses, 5),
    "a_reader_and_a_barrier": Played(a_reader_and_a_barrier),
    "a_gap": Played(a_gap),
    "a_component": Played(a_component),
    **BARRIERS,
}
