"""The theatre in words: for those who do not see the picture, and for nbval to compare."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from helpers.streams.entry import EntryId
from helpers.views.theatre.snapshot import Box, GroupLook, Member, Pending, Snapshot

# What is known of the processes behind the consumers: for a group, each consumer's state.
States = Mapping[str, Mapping[str, str]]
DONE, UNREAD, GONE = "✓", "·", "✕"
LETTERS = 24  # of a name or value, the most


def text(snapshot: Snapshot, states: States | None = None, *, times: bool = True) -> str:
    """A snapshot in a few lines.

    Args:
        snapshot: what to tell.
        states: the state of each group's consumers, where it is known.
        times: with IDs and idle times. Without, entries are numbered as they are shown, and
            the text is the same in each run.
    """
    names = _names(snapshot, times)
    lines = [headline(snapshot)]
    lines += [f"  {names[box.id]}  {_fields(box)}" for box in snapshot.entries]
    for group in snapshot.groups:
        known = (states or {}).get(group.name, {})
        lines += [_group(group, times), "  " + " ".join(marks(snapshot, group))]
        lines += ["  " + _member(one, state, names, times) for one, state in rows(group, known)]
        lines += [f"  and {many(group.more, 'consumer')} more"] if group.more else []
    lines += [remark] if (remark := remarks(snapshot)) else []
    return "\n".join(printable(line.rstrip()) for line in lines)


def headline(snapshot: Snapshot) -> str:
    """The stream and how long it is, or what is wrong with it, in one sentence."""
    match snapshot:
        case Snapshot(kind="none"):
            return f"There is no stream {snapshot.stream} yet: add an entry to it."
        case Snapshot(kind="stream", length=0, entries=()):
            return f"The stream {snapshot.stream} has no entries yet: add one."
        case Snapshot(kind="stream"):
            return f"stream {snapshot.stream}: {counted(snapshot)}"
    return f"The key {snapshot.stream} isn't a stream: its type is {snapshot.kind}."


def counted(snapshot: Snapshot) -> str:
    """How many entries there are, and how many of them are shown."""
    shown, total = len(snapshot.entries), many(snapshot.length, "entry", "entries")
    return total if shown == snapshot.length else f"{total}, the newest {shown} shown"


def remarks(snapshot: Snapshot) -> str:
    """What else is to be said: groups that are missing or left out, dead letters."""
    parts = []
    if snapshot.kind == "stream" and not snapshot.groups:
        parts.append("No consumer group reads it yet.")
    if snapshot.more:
        parts.append(f"And {many(snapshot.more, 'group')} more.")
    if snapshot.dead_letters is not None:
        parts.append(f"Dead letters: {snapshot.dead_letters:,}.")
    return " ".join(parts)


def marks(snapshot: Snapshot, group: GroupLook) -> Iterator[str]:
    """What each entry shown is to a group: unread, pending for a consumer, or done.

    Done is what the cursor has passed and nobody holds: it was acknowledged, or the group
    began behind it. Redis does not remember which.
    """
    for box in snapshot.entries:
        yield UNREAD if group.unread(box.id) else group.held.get(box.id, DONE)


def rows(group: GroupLook, states: Mapping[str, str]) -> list[tuple[Member, str]]:
    """A group's consumers with their states: first those that have one, then the others."""
    members = {member.name: member for member in group.members}
    ours = [(members.pop(name, Member(name, 0)), state) for name, state in states.items()]
    return ours + [(member, "not ours" if states else "") for member in members.values()]


def lag(group: GroupLook) -> str:
    """How far a group is behind."""
    return "lag unknown" if group.lag is None else f"lag {group.lag:,}"


def idle(idle_ms: int) -> str:
    """A time, coarse: seconds, then minutes, hours or days."""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if idle_ms >= size:
            return f"{idle_ms // size} {unit}"
    return f"{idle_ms // 1000} s"


def many(count: int, one: str, more: str = "") -> str:
    """A number of things."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def printable(text: str) -> str:
    """A text whose control characters are replaced: neither a line nor SVG can hold them."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def _names(snapshot: Snapshot, times: bool) -> dict[EntryId, str]:
    ids = (box.id for box in snapshot.entries)
    return {entry_id: str(entry_id) if times else f"#{n}" for n, entry_id in enumerate(ids, 1)}


def _fields(box: Box) -> str:
    shown = [f"{_cut(name)}={_cut(value)}" for name, value in box.fields]
    return " ".join(shown + ([f"(+{box.more})"] if box.more else []))


def _group(group: GroupLook, times: bool) -> str:
    cursor = f", last delivered {group.cursor}" if times else ""
    return f"group {group.name}: {lag(group)}, {group.pending:,} pending{cursor}"


def _member(member: Member, state: str, names: Mapping[EntryId, str], times: bool) -> str:
    about = ", ".join(filter(None, (member.name, state, f"{member.pending:,} pending")))
    listed: Iterable[str] = (_pending(one, names, times) for one in member.entries)
    rest = member.pending - len(member.entries)
    entries = ", ".join([*listed, *([f"{rest:,} more"] if rest else [])])
    return f"{about}: {entries}" if entries else about


def _pending(one: Pending, names: Mapping[EntryId, str], times: bool) -> str:
    name = str(one.id) if times else names.get(one.id, "deleted" if one.deleted else "older")
    about = [idle(one.idle_ms)] if times else []
    about += [f"×{one.deliveries}"] + (["deleted"] if one.deleted and times else [])
    return f"{name} ({', '.join(about)})"


def _cut(text: str) -> str:
    return text if len(text) <= LETTERS else text[: LETTERS - 1] + "…"
