"""Synthetic changes: what Wikimedia's feed might say, made up from a seed, and marked as such."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

# Some wikis, with about the share that each has in all changes.
SHARES = {
    "www.wikidata.org": 34,
    "commons.wikimedia.org": 22,
    "en.wikipedia.org": 15,
    "de.wikipedia.org": 5,
    "fr.wikipedia.org": 5,
    "es.wikipedia.org": 4,
    "ru.wikipedia.org": 3,
    "it.wikipedia.org": 3,
    "pt.wikipedia.org": 2,
    "ja.wikipedia.org": 2,
    "ta.wikipedia.org": 1,
    "en.wiktionary.org": 2,
    "he.wikisource.org": 1,
    "nl.wikivoyage.org": 1,
}
TYPES = {"edit": 62, "categorize": 26, "new": 6, "log": 6}
PLACES = ("Chennai", "Coimbatore", "Madurai", "Ooty", "Porto", "Lisbon", "Catania", "São Paulo")
THINGS = ("Railway station", "History", "Weather", "Football club", "Climate", "Harbour", "Museum")
TEMPLATES = 2000  # different events; after so many they come again, with other times and IDs
LATEST_S = 90  # a late one tells of a change that is up to so many seconds old

TOPIC = "synthetic.mediawiki.recentchange"
NOTE = "Synthetic: made up by a replay server, no page was changed"


def synthetic_event(seed: int, number: int, at_ms: int) -> dict[str, Any]:
    """One event in the schema mediawiki/recentchange 1.0.0; the same for the same arguments.

    Args:
        seed: of the whole feed.
        number: of the event in it, from 0.
        at_ms: when the feed tells of it, in milliseconds since 1970. Three in a hundred are
            late: the change was made up to 90 s earlier.
    """
    template, late_s = _template(seed, number % TEMPLATES)
    made_s = at_ms // 1000 - late_s
    meta = template["meta"] | {
        "id": str(UUID(int=(seed % 2**32 << 64) | number)),
        "dt": _iso(at_ms - 1000 * late_s),
        "offset": number,
    }
    return template | {"meta": meta, "id": 10_000_000 + number, "timestamp": made_s}


@lru_cache(maxsize=8 * TEMPLATES)
def _template(seed: int, number: int) -> tuple[dict[str, Any], int]:
    """What is the same whenever it comes, and how late it comes, in seconds."""
    chance = random.Random(seed * 1_000_003 + number)
    domain = chance.choices(list(SHARES), list(SHARES.values()))[0]
    kind = chance.choices(list(TYPES), list(TYPES.values()))[0]
    bot = chance.random() < 0.35
    title = f"{chance.choice(THINGS)} of {chance.choice(PLACES)} {chance.randrange(1000)}"
    event: dict[str, Any] = {
        "$schema": "/mediawiki/recentchange/1.0.0",
        "meta": {
            "uri": f"https://{domain}/wiki/{title.replace(' ', '_')}",
            "request_id": str(UUID(int=chance.getrandbits(128))),
            "domain": domain,
            "stream": "mediawiki.recentchange",
            "topic": TOPIC,
            "partition": 0,
        },
        "type": kind,
        "namespace": 14 if kind == "categorize" else 0,
        "title": title,
        "comment": NOTE,
        "user": f"{'SyntheticBot' if bot else 'Synthetic reader'} {chance.randrange(200)}",
        "bot": bot,
        "server_url": f"https://{domain}",
        "server_name": domain,
        "server_script_path": "/w",
        "wiki": _wiki(domain),
        "parsedcomment": NOTE,
        "synthetic": True,
    }
    if kind in ("edit", "new"):
        old = None if kind == "new" else chance.randrange(200, 60_000)
        grown = int(chance.gauss(40, 300))
        event["length"] = {"old": old, "new": max(0, (old or 300) + grown)}
        event["revision"] = {"old": None if old is None else number, "new": number + 1}
        event["minor"] = chance.random() < 0.3
    if kind == "log":
        event |= {"log_id": number, "log_type": "patrol", "log_action": "patrol", "log_params": []}
    return event, chance.randrange(1, LATEST_S) if chance.random() < 0.03 else 0


def _wiki(domain: str) -> str:
    language, family, _ = domain.split(".")
    if language in ("www", "commons"):
        return f"{family if language == 'www' else language}wiki"
    return f"{language}{'wiki' if family == 'wikipedia' else family}"


def _iso(ms: int) -> str:
    return f"{_second(ms // 1000)}.{ms % 1000:03}Z"


@lru_cache(maxsize=256)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
