"""A client with the settings of another one, whose pool or connections do more than its own."""

from __future__ import annotations

from typing import Any, TypeVar

Client = TypeVar("Client", bound=Any)


def like(client: Client, *, pool: type = object, connection: type = object, **does: Any) -> Client:
    """A client with the settings of another one, and with connections of its own.

    Args:
        client: the other one, synchronous or for asyncio. Nothing of it changes.
        pool: a class that stands in front of its pool's own.
        connection: a class that stands in front of its connections' own.
        does: attributes of both classes.
    """
    before = client.connection_pool
    settings = {**before.connection_kwargs, "max_connections": before.max_connections}
    if hasattr(before, "timeout"):  # a blocking pool's
        settings["timeout"] = before.timeout
    pools = _in_front(pool, type(before), does)
    lines = _in_front(connection, before.connection_class, does)
    made = type(client).from_pool(pools(connection_class=lines, **settings))
    made.response_callbacks = client.response_callbacks.copy()
    return made


def _in_front(kind: type, own: type, does: dict[str, Any]) -> Any:
    return own if kind is object else type(kind.__name__.strip("_"), (kind, own), does)
