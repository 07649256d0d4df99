"""What can be done in a theatre: add entries, and start, kill, pause and relieve real consumers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import redis

from helpers.chaos import Crew, course
from helpers.course.database import clean
from helpers.course.errors import CourseError
from helpers.streams.consumer.dead_letters import dead_letters_of
from helpers.streams.errors import explain
from helpers.streams.group import Group
from helpers.views.theatre.snapshot import NEWEST, Snapshot, snapshot

if TYPE_CHECKING:
    from helpers.views.theatre.still import Still

WORK_MS, BATCH = 1500, 3
PATIENCE_MS = 60_000  # so long a consumer leaves the entries of others alone: claim by hand first
IDLE_MS = 5_000  # longer than a batch takes, so that what is idle for so long is stuck
MOST_CLAIMED = 100

CLAIM = """
-- Give a consumer what others have left idle. KEYS: the stream.
-- ARGV: group, consumer, for how long in ms, the most entries.
-- Its process does not hear of it: a claim is answered to who sent it. But a consumer of this
-- course looks once a second at what is pending for its name, and delivers it to itself.
local found = redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[3], '-', '+', ARGV[4])
local claim = {'XCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3]}
for _, one in ipairs(found) do
  if one[2] ~= ARGV[2] then claim[#claim + 1] = one[1] end
end
if #claim == 5 then return {} end
claim[#claim + 1] = 'JUSTID'
return redis.call(unpack(claim))
"""

Program = Callable[[str], Sequence[str]]
Fields = Callable[[int], Mapping[str, Any]]


def numbered(number: int) -> dict[str, Any]:
    """The fields of an entry that is easy to follow: its number."""
    return {"reading": number}


class Stage:
    """One stream, one group, and the processes that are its consumers.

    `said` is what was done last, in one line.
    """

    def __init__(
        self,
        client: redis.Redis,
        stream: str,
        group: str,
        consumers: Sequence[str] = ("alice", "bob"),
        *,
        program: Program | None = None,
        fields: Fields = numbered,
        newest: int = NEWEST,
        dead_letters: str | None = None,
    ) -> None:
        """Make the group, if there is none, at the beginning of the stream.

        Args:
            client: a client from `connect()`.
            stream: the stream's key; the stream is made if need be.
            group: the consumer group.
            consumers: the names of those who can be started.
            program: the command line of a consumer's process, for its name; by default
                `course consume`, 1.5 s for each entry.
            fields: the fields of the first, second, … entry; by default just this number.
            newest: how many entries to show, 1 to 12.
            dead_letters: their key, if not at `{stream}:group:dead`.

        Raises:
            WrongTypeError: the key is not a stream.
        """
        self.stream, self.group, self.consumers = stream, group, tuple(consumers)
        self.newest, self.dead_letters = newest, dead_letters or dead_letters_of(stream, group)
        self.said = ""
        self._client = client
        self._group = Group(client, stream, group)
        self._program = program or self._course_consume
        self._fields = fields
        self._crew = Crew()
        self._group.create("0", make_stream=True)
        self._added = int(client.xlen(stream))

    def snapshot(self) -> Snapshot:
        """The stream as it is now."""
        return snapshot(
            self._client, self.stream, newest=self.newest, dead_letters=self.dead_letters
        )

    def still(self) -> Still:
        """The picture as it is now, with the states of the consumers, for a cell to show."""
        from helpers.views.theatre.still import Still  # matplotlib takes half a second to import

        return Still(self.snapshot(), self.states())

    def states(self) -> dict[str, dict[str, str]]:
        """The states of our consumers: not started, running, paused, killed or ended."""
        return {self.group: {name: self._state(name) for name in self.consumers}}

    def produce(self, count: int = 1) -> None:
        """Add so many entries, by XADD."""
        for _ in range(count):
            fields = dict(self._fields(self._added + 1))
            entry_id = self._ask(self._client.xadd, self.stream, fields)
            self._added += 1
            words = " ".join(f"{name} {value}" for name, value in fields.items())
            self.said = f"XADD {self.stream} * {words}  →  {entry_id}"
        if count > 1:
            self.said += f", the last of {count}"

    def start(self, name: str) -> None:
        """Start a consumer's process, or start it again."""
        self._expect(name)
        if name in self._crew:
            process = self._crew.revive(name)
        else:
            process = self._crew.start(name, list(self._program(name)))
        self.said = f"{name} started: process {process.pid}."

    revive = start

    def kill(self, name: str) -> None:
        """Kill a consumer: kill -9."""
        process = self._crew[name]
        process.kill()
        self.said = f"kill -9 {process.pid}  →  {name} is gone, in the middle of its work."

    def pause(self, name: str) -> None:
        """Stop a consumer in its tracks: kill -STOP."""
        process = self._crew[name]
        process.pause()
        self.said = f"kill -STOP {process.pid}  →  {name} is paused, and doesn't know it."

    def resume(self, name: str) -> None:
        """Let a paused consumer go on: kill -CONT."""
        process = self._crew[name]
        process.resume()
        self.said = f"kill -CONT {process.pid}  →  {name} continues where it stopped."

    def claim(self, name: str, *, idle_ms: int = IDLE_MS) -> int:
        """Give a consumer all that others have left idle, by XCLAIM; gives how many there were.

        Args:
            name: who is to have them.
            idle_ms: for how long an entry must have been idle, in milliseconds.
        """
        self._expect(name)
        script = self._client.register_script(CLAIM)
        args = [self.group, name, idle_ms, MOST_CLAIMED]
        count = len(self._ask(script, keys=[self.stream], args=args))
        found = (
            f"{count} moved to {name}" if count else f"nothing was idle for {idle_ms / 1000:g} s"
        )
        self.said = f"XCLAIM {self.stream} {self.group} {name} {idle_ms} …  →  {found}."
        return count

    def reset(self) -> None:
        """Kill all consumers, and begin anew with an empty stream."""
        self._crew.kill()
        self._crew = Crew()
        clean(self._client, self.stream, self.dead_letters)
        self._group.create("0", make_stream=True)
        self._added = 0
        self.said = f"DEL {self.stream}  →  an empty stage."

    def close(self) -> None:
        """Kill all consumers. The stream stays."""
        self._crew.kill()

    def last_words(self, name: str) -> str:
        """The last line that a consumer printed."""
        lines = self._crew[name].output().strip().splitlines() if name in self._crew else []
        return lines[-1] if lines else ""

    def _course_consume(self, name: str) -> list[str]:
        words = ["--stream", self.stream, "--group", self.group, "--work-ms", str(WORK_MS)]
        words += ["--batch", str(BATCH), "--idle-ms", str(PATIENCE_MS)]
        return course("consume", name, *words)

    def _state(self, name: str) -> str:
        if name not in self._crew:
            return "not started"
        process = self._crew[name]
        if process.alive:
            return "paused" if process.paused else "running"
        return "killed" if process.exit_code == -9 else "ended"

    def _expect(self, name: str) -> None:
        if name not in self.consumers:
            known = ", ".join(self.consumers)
            raise CourseError(
                f"{name!r} isn't one of this theatre's consumers: choose from {known}."
            )

    def _ask(self, command: Callable[..., Any], *args: Any, **more: Any) -> Any:
        try:
            return command(*args, **more)
        except redis.ResponseError as error:
            raise explain(error, self.stream, self.group) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
