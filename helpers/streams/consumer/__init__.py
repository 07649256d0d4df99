"""The consumer: works in a consumer group, at least once or exactly once, and survives crashes.

    consumer.py      Consumer, AsyncConsumer: the promise, and two thin loops that send
    loop.py          DeliveryLoop: what to do next, decided step by step; it never sends
    scripts.py       all that runs on the server, in the order in which it comes to run
    effects.py       what a handler may return, to happen exactly once
    dead_letters.py  what the group gave up on, and how to give it back

From `Consumer.run` to XACK: `run` asks the loop for a step and takes it, over and over. A step
is a script to run, an XREADGROUP, a wait, or an entry for the handler. What came of it goes
back into the loop.

    JOIN    once: take the name in the group. Who had it before is fenced off
    OWN     what is pending for this name, from an earlier life or after a lost reply
    SWEEP   now and then: claim what others left idle for too long (XAUTOCLAIM JUSTID)
    TAKE    one entry of OWN's, SWEEP's, or one that failed: deliver it again (XCLAIM), or BURY it
            (XREADGROUP `>` delivers what is new, in batches)
            … the handler works …
    FAIL    it raised: note why, and try again later, or BURY the entry
    SETTLE  it returned: run its effects and XACK, entry by entry, in one step
    LEAVE   at the end, for a name that nobody will use again

BURY is a part of TAKE, FAIL and SETTLE: it moves an entry to the dead letters. REPLAY, which
`DeadLetters.replay` runs, moves it back.

Each script can be run twice and come late without harm to the others' work: it asks first
whether the entry is still pending, and for whom. So a step whose reply was lost is taken again.

Four keys, all in one hash slot: the stream, `{stream}:group:names` (consumer → token of its
current life), `{stream}:group:failures` (entry → what its handlers raised) and
`{stream}:group:dead`, a stream.
"""

from .consumer import AsyncConsumer, Consumer
from .dead_letters import DeadLetter, DeadLetters, Replayed
from .loop import Counts

__all__ = ["AsyncConsumer", "Consumer", "Counts", "DeadLetter", "DeadLetters", "Replayed"]
