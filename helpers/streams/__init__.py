"""Redis Streams for programs: producers, readers and consumers that survive the real world.

What a learner takes home. It needs redis-py and nothing else (with hiredis it is faster), and
imports itself relatively: copy the folder, give it another name, and it works.

    entry, keys, clock, errors, patience, signals   the words that all of it is said in
    values, text                                    what a value is on a stream, and what is no text
    steps                                           who decides and who sends
    single                                          what a fork or a copy must not share
    connection, states                              what a server that is away or ill asks of us
    scan                                            read a range, page by page
    producer, bulk, outbox                          append, each entry exactly once
    reader, checkpoint                              follow streams from a place that is kept
    group                                           look into a consumer group, and move it
    consumer/                                       work in a group: loop, effects, dead letters

Where the synchronous and the asyncio class do the same, one object decides for both and never
sends (Outbox, Place, DeliveryLoop), as a generator of steps, and each class only takes these.
"""

import logging

from .bulk import BulkProducer
from .connection import patient
from .consumer import AsyncConsumer, Consumer, DeadLetters
from .entry import Entry, EntryId
from .errors import StreamsError
from .group import AsyncGroup, Group
from .producer import AsyncProducer, Producer
from .reader import AsyncReader, Reader
from .scan import scan, scan_async

__all__ = [
    "AsyncConsumer",
    "AsyncGroup",
    "AsyncProducer",
    "AsyncReader",
    "BulkProducer",
    "Consumer",
    "DeadLetters",
    "Entry",
    "EntryId",
    "Group",
    "Producer",
    "Reader",
    "StreamsError",
    "patient",
    "scan",
    "scan_async",
]

# What went wrong and was survived goes to the standard library's logging, and nowhere else. The
# record of a handler's failure has the attributes consumer, entry and why, and its traceback.
logging.getLogger(__name__).addHandler(logging.NullHandler())
