"""The consumer: works in a consumer group, at least once or exactly once, and survives crashes.

    consumer.py      Consumer, AsyncConsumer: the promise, and two thin drivers that send
    loop.py          DeliveryLoop: what to do next, decided step by step; it never sends
    in_hand.py       from the handler to XACK, to a retry, or to the dead letters
    asking.py        how the loop gets an answer, or its patience ends
    steps.py         the steps that it asks its driver to take
    scripts.py       all that runs on the server, in the order in which it comes to run
    effects.py       what a handler may return, to happen exactly once
    settings.py      what a consumer can be told, and what it counts
    dead_letters.py  what the group gave up on, and how to give it back

From `Consumer.run` to XACK: `run` asks the loop for a step and takes it, over and over. A step
is a script to run, an XREADGROUP, a wait, or entries for the handler. What came of it goes
back into the loop.

    SEEN    who has the name in the group now, and
    JOIN    take it, unless it was taken since; the life that had it before is fenced off
    OWN     what is pending for this name, from an earlier life or after a lost reply
    SWEEP   now and then: claim what others left idle for too long (XCLAIM JUSTID)
    TIDY    more rarely: forget consumers that are gone
    TAKE    entries of OWN's and SWEEP's, and those that failed: deliver them again (XCLAIM)
            (XREADGROUP `>` delivers what is new, in batches)
            … the handler works …
    RENEW   between two entries, when it takes long: all the others are still in hand
    FAIL    it raised: note why. The entry comes again later, or
    BURY    it was delivered often enough, and moves to the dead letters
    SETTLE  it returned: run its effects and XACK, entry by entry, in one step
            (what was delivered once, and has no effect, needs XACK alone, in a pipeline with a
            look at who has the name)
    LEAVE   at the end, for a name that nothing will use again

REPLAY, which `DeadLetters.replay` runs, moves an entry back; CREATE makes a lost group again.

Each script can be run twice, and a copy may come late, without harm: it asks first whether the
entry is still pending, for whom, and by which delivery. So a step whose reply was lost is taken
again.

Five keys in one hash slot: the stream, and beside it `{stream}:group:names` (consumer → token of
its current life), `:failures` (entry → what its handlers raised), `:sweep` (there while no look at
others' entries is due) and `:dead`, a stream. If one is evicted, it is made again.
"""

from .consumer import AsyncConsumer, Consumer
from .dead_letters import DeadLetter, DeadLetters, Replayed
from .settings import Counts

__all__ = ["AsyncConsumer", "Consumer", "Counts", "DeadLetter", "DeadLetters", "Replayed"]
