"""Redis Streams, hands on: the real producers and consumers behind the lessons and labs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from helpers.bulk import BulkProducer
from helpers.connect import connect, connect_async
from helpers.consumer import AsyncConsumer, Consumer
from helpers.database import clean
from helpers.deadletters import DeadLetters
from helpers.entry import Entry, EntryId
from helpers.group import AsyncGroup, Group
from helpers.producer import AsyncProducer, Producer
from helpers.reader import AsyncReader, Reader
from helpers.scan import scan, scan_async

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

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
    "clean",
    "connect",
    "connect_async",
    "scan",
    "scan_async",
]


def load_ipython_extension(shell: InteractiveShell) -> None:
    """`%load_ext helpers`: see `helpers.notebook`."""
    from helpers.notebook import load  # IPython takes half a second that a terminal need not wait

    load(shell)
