"""Every key that the course makes: the code that makes one takes its name from here.

What `helpers.streams` keeps beside a stream is listed in its own `keys`.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from helpers.course.weather import CITIES
from helpers.streams.keys import BESIDE, BESIDE_FOR_A_GROUP, CHECKPOINT, owners

MARK = "course:database"  # says that the database is the course's
STREAMS = "course:streams"  # the streams that learners have named to a `course` command
PARTITION = "temps"  # a partition is this and its day; the averages are below it too
BENCH = "bench:"
WIKI = "wiki"  # the stream of changes
COUNTERS = "ev"  # the hash of all changes; that of a domain is this and the domain
DOMAINS = "known_domains"

# Beside one of those, by the code of the course:
WRITTEN = "written"  # a partition: what its producers have written
PLACE = "place"  # the stream or channel of changes: where the publisher is in the feed
COUNTED = "counted"  # the counters: when changes were last counted
AGGREGATING_STATE = "aggregating_consumer_state"
AVERAGES_STATE = "averages_consumer_state"
SET_ASIDE = "set_aside"  # readings that count for no hour
_BESIDE = (*BESIDE, WRITTEN, PLACE, COUNTED, AGGREGATING_STATE, AVERAGES_STATE, SET_ASIDE)

# As patterns, with the keys of lessons and labs, which begin with `lesson05:` and the like.
PATTERNS = (
    "course:*", "lesson*", "lab[0-9][0-9]:*", *CITIES, f"{PARTITION}:*", f"{BENCH}*",
    f"{CHECKPOINT}*", WIKI, COUNTERS, f"{COUNTERS}:*", DOMAINS,
    f"{{{WIKI}}}:*",
)  # fmt: skip


def made_by_the_course(key: str, named: frozenset[str] = frozenset()) -> bool:
    """Whether the course makes a key of this name, by itself or beside another one.

    Args:
        key: its name.
        named: streams that were named to a `course` command.
    """
    if key in named or any(fnmatchcase(key, pattern) for pattern in PATTERNS):
        return True
    beside = owners(key, _BESIDE, BESIDE_FOR_A_GROUP)
    return any(made_by_the_course(one, named) for one in beside)
