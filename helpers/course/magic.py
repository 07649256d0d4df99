"""The `%redis` magic: send a line to the server and print the reply as redis-cli would."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import redis
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand

from helpers.course.connect import connect_raw
from helpers.course.errors import CourseError

PROMPT = "redis> "
_STATUS = {b"OK", b"QUEUED", b"PONG"}
_REFUSED = {
    "FLUSHALL": "it would delete other programs' keys too; `course reset` deletes the course's",
    "FLUSHDB": "it would delete the course's mark; `course reset` deletes the rest",
    "SELECT": "the course uses one database, and the others may belong to other programs",
    "SHUTDOWN": "`course server stop` ends the course's own server",
    "MONITOR": "its reply never ends, so it needs a terminal and redis-cli",
    "SUBSCRIBE": "its reply never ends, so it needs a terminal and redis-cli",
    "PSUBSCRIBE": "its reply never ends, so it needs a terminal and redis-cli",
    "SSUBSCRIBE": "its reply never ends, so it needs a terminal and redis-cli",
    "CLIENT REPLY": "the cell would wait forever for the reply that it turns off",
    "HELLO": "%redis always uses RESP2, as redis-cli does",
    "RESET": "it would log this connection out",
}


@magics_class
class RedisMagics(Magics):
    """`%redis XLEN chennai` for one command, `%%redis` for a cell of them.

    `{name}` and `$name` stand for Python variables, `#` starts a line of comment.
    """

    _client: redis.Redis | None = None

    @no_var_expand
    @line_magic("redis")  # type: ignore[arg-type]
    def line(self, line: str) -> None:
        """Send one command and print its reply."""
        for text in self._replies(self._expand(line)):
            print(text)

    @no_var_expand
    @cell_magic("redis")  # type: ignore[arg-type]
    def cell(self, line: str, cell: str) -> None:
        """Send each line of the cell and print it with its reply."""
        for command in [line, *cell.splitlines()]:
            if command.strip() and not command.lstrip().startswith("#"):
                expanded = self._expand(command)
                print(f"{PROMPT}{expanded}", *self._replies(expanded), sep="\n")

    def _expand(self, line: str) -> str:
        """Put in Python variables, seen from the cell: it is three callers up."""
        return str(self.shell.var_expand(line.strip(), depth=3))  # type: ignore[union-attr]

    def _replies(self, line: str) -> list[str]:
        try:
            words = shlex.split(line)
        except ValueError as error:
            return [f"(error) unbalanced quotes in: {line} ({error})"]
        if not words:
            return ["Write a command after %redis, for example: %redis XLEN chennai"]
        for name in (words[0].upper(), " ".join(words[:2]).upper()):
            if name in _REFUSED:
                return [f"(refused) {name}: {_REFUSED[name]}."]
        try:
            return list(as_cli(words[0], self._send(words)))
        except (redis.ResponseError, redis.AuthenticationError) as error:
            return [f"(error) {_with_code(error)}"]
        except redis.ConnectionError as error:
            self._client = None
            return [f"(error) the connection to the server was lost ({error}): run the cell again."]
        except KeyboardInterrupt:
            return ["(interrupted)"]

    def _send(self, words: list[str]) -> Any:
        if self._client is None:
            self._client = connect_raw()
        return self._client.execute_command(*words)


def as_cli(command: str, reply: Any) -> Iterator[str]:
    """The lines that redis-cli prints for a reply.

    >>> print(*as_cli("XRANGE", [[b"1-0", [b"temperature", b"26"]]]), sep="\\n")
    1) 1) "1-0"
       2) 1) "temperature"
          2) "26"
    """
    status = reply in _STATUS if isinstance(reply, bytes) else False
    if status or (isinstance(reply, bytes) and command.upper() == "TYPE"):
        yield reply.decode()
    elif isinstance(reply, list) and reply:
        width = len(str(len(reply)))
        for number, part in enumerate(reply, 1):
            label = f"{number:>{width}}) "
            for line in as_cli(command="", reply=part):
                yield label + line
                label = " " * len(label)
    else:
        yield _scalar(reply)


def _scalar(reply: Any) -> str:
    match reply:
        case None:
            return "(nil)"
        case []:
            return "(empty array)"
        case int():
            return f"(integer) {reply}"
        case bytes():
            return '"' + "".join(_escaped(byte) for byte in reply) + '"'
        case Exception():
            return f"(error) {_with_code(reply)}"
    raise CourseError(f"RESP2 has no reply of type {type(reply).__name__}.")


def _with_code(error: Exception) -> str:
    """What the server said, with the code in front that redis-py takes off."""
    code = getattr(error, "status_code", None)
    return f"{code} {error}" if code else str(error)


def _escaped(byte: int) -> str:
    special = {34: '\\"', 92: "\\\\", 10: "\\n", 13: "\\r", 9: "\\t", 7: "\\a", 8: "\\b"}
    if byte in special:
        return special[byte]
    return chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}"
