"""What answers at a URL: a server that the course can use, or the sentence that says why not."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from helpers.course.errors import ServerError
from helpers.streams.states import state_of

OLDEST = (7, 0)  # XAUTOCLAIM's deleted IDs, `ms-*`, EXPIREAT's options: all are in 7.0
ANSWER_TIMEOUT_S = 5.0

Source = Literal["url", "path", "embedded"]


@dataclass(frozen=True)
class Server:
    """A server that answered, and why it is the one in use."""

    url: str
    source: Source
    why: str
    product: str
    version: str

    @property
    def safe_url(self) -> str:
        """The URL without its password, fit for a screen."""
        return hide_password(self.url)

    @property
    def sentence(self) -> str:
        """What answers where, and why it is the one in use."""
        at = f"{self.product} {self.version} answers at {self.safe_url}"
        return f"{at} ({self.source}: {self.why})."


def probe(url: str, timeout_s: float | None = None) -> redis.Redis:
    """A client for a first question to a server: short time-outs, nothing sent twice.

    It says HELLO as soon as it is connected. Over TLS 1.3 a server sends tickets after the
    handshake, and until a reply has been read redis-py takes them for one that is left over.
    """
    timeout_s = timeout_s or ANSWER_TIMEOUT_S
    return redis.Redis.from_url(
        url,
        decode_responses=True,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
        driver_info=None,  # to say who asks would be two more commands
        redis_connect_func=_greet,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
    )


def _greet(connection: redis.Connection) -> None:
    connection.on_connect()
    connection.send_command("HELLO")
    with contextlib.suppress(redis.ResponseError):  # a user may be forbidden even that
        connection.read_response()


def describe(url: str, source: Source, why: str) -> Server:
    """Ask the server at a URL what it is, and what it is for.

    Raises:
        ServerError: what answers there, if anything, is of no use to the course.
    """
    product, version, hello = identify(url)
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST:
        raise ServerError(
            f"The server at {hide_password(url)} is {product} {version}, and the course needs "
            f"{dotted(OLDEST)} or newer: set REDIS_URL to another, or unset it."
        )
    _expect_single_primary(url, source, hello)
    return Server(url, source, why, product, version)


def _expect_single_primary(url: str, source: Source, hello: dict[str, Any]) -> None:
    """Make sure that a server holds all keys and takes writes, by its answer to HELLO.

    Raises:
        ServerError: it is a node of a cluster, a Sentinel, or a replica.
    """
    what = {
        "cluster": "a node of a Redis Cluster, which holds only some of the keys",
        "sentinel": "a Sentinel, which holds no data",
    }.get(hello.get("mode", ""))
    if what:
        remedy = (
            "set REDIS_URL to a standalone server, or unset it (lesson 09 starts its own cluster)"
        )
    elif hello.get("role") in ("replica", "slave"):
        what = f"a replica, to which only its primary{_primary(url)} may write"
        remedy = (
            "set REDIS_URL to the primary, or unset it" if source == "url" else
            "run `course server stop`; it starts as a primary again"
        )  # fmt: skip
    else:
        return
    raise ServerError(f"The server at {hide_password(url)} is {what}: {remedy}.")


def _primary(url: str) -> str:
    """Where a replica's primary is, if it may be asked, by ROLE."""
    with contextlib.suppress(redis.RedisError, ValueError), probe(url) as client:
        _, host, port, *_ = cast(list[Any], client.execute_command("ROLE"))
        return f" ({host}:{port})"
    return ""


def identify(url: str) -> tuple[str, str, dict[str, Any]]:
    """The product and version that answer at a URL, by INFO, and their reply to HELLO.

    A user who may not ask for INFO learns the version by HELLO, which everyone may say.

    Raises:
        ServerError: nothing answers, the password is wrong, or it is no Redis.
    """
    shown = hide_password(url)
    remedy = "Correct REDIS_URL, or unset it: the course then starts a server of its own."
    alien = f"What answers at {shown} is not Redis. {remedy}"
    try:
        urlsplit(url).port  # noqa: B018  raises ValueError where it is no number
        with probe(url) as client:
            hello = _hello(client)
            info = _info(client, hello)
    except (redis.InvalidResponse, UnicodeDecodeError, AttributeError) as error:
        raise ServerError(alien) from error
    except ValueError:  # no word of the URL or the error: a password may stand anywhere in them
        raise ServerError(
            "REDIS_URL isn't the address of a Redis server: write it like redis://localhost:6379/0 "
            "or redis://:password@localhost:6379/0, or unset it. In a password, write # as %23, / "
            "as %2F and % as %25."
        ) from None
    except TypeError as error:  # its name is told by redis-py, and of the URL no more
        option = str(error).rpartition("argument ")[2]
        raise ServerError(
            f"REDIS_URL has an option that there isn't, {option}: take it out of {shown}."
        ) from error
    except redis.AuthenticationError as error:
        lack = "asks for a password" if state_of(error) == "NOAUTH" else "rejects the password"
        raise ServerError(f"The server at {shown} {lack}. {remedy}") from error
    except redis.BusyLoadingError as error:
        raise ServerError(
            f"The server at {shown} is still loading its data: wait a moment, then try again."
        ) from error
    except redis.TimeoutError as error:
        tls = "If it uses no TLS, begin REDIS_URL with redis://. " * shown.startswith("rediss:")
        raise ServerError(f"The server at {shown} does not answer. {tls}{remedy}") from error
    except redis.exceptions.NoPermissionError as error:
        raise ServerError(
            f"The server at {shown} says: {error}. Allow it with ACL SETUSER, or set REDIS_URL to "
            "another server, or unset it."
        ) from error
    except redis.ResponseError as error:
        said = str(error).split(", with args")[0]  # an unknown AUTH is told with its password
        raise ServerError(f"The server at {shown} says: {said}. {remedy}") from None
    except (redis.RedisError, OSError) as error:
        said = _tls_trouble(shown, error) or f"No server answers at {shown} ({error}). {remedy}"
        raise ServerError(said) from error
    if "valkey_version" in info:
        return "Valkey", info["valkey_version"], hello
    if "redis_version" in info:
        return "Redis", str(info["redis_version"]), hello
    raise ServerError(alien)


def _tls_trouble(shown: str, error: Exception) -> str | None:
    """What TLS has to do with it that a server cannot be reached."""
    said = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in said:
        reason = re.sub(r".*verify failed: (.*?)\.? \(_ssl.*", r"\1", said)
        return (
            f"The certificate of the server at {shown} cannot be trusted ({reason}): end REDIS_URL "
            "with ?ssl_ca_certs= and the file of the authority that signed it, and name the host "
            "as the certificate does."
        )
    if "No such file" in said and "ssl_" in shown:
        return f"A file that REDIS_URL names for TLS does not exist: correct it in {shown}."
    if "WRONG_VERSION_NUMBER" in said or "record layer failure" in said:
        return f"The server at {shown} does not use TLS: begin REDIS_URL with redis://."
    if "reset by peer" in said and shown.startswith("redis://"):
        return (
            f"The server at {shown} closes the connection at once: if it uses TLS, begin "
            "REDIS_URL with rediss://; otherwise, correct REDIS_URL or unset it."
        )
    return None


def _hello(client: redis.Redis) -> dict[str, Any]:
    """What a server says of itself; nothing, where that is no mapping."""
    try:
        said: Any = client.execute_command("HELLO")
    except redis.ResponseError:
        return {}
    pairs = said if isinstance(said, list) and len(said) % 2 == 0 else []
    return {str(name): value for name, value in zip(pairs[::2], pairs[1::2], strict=True)}


def _info(client: redis.Redis, hello: dict[str, Any]) -> dict[str, Any]:
    """INFO, or so much of it as HELLO says."""
    try:
        return client.info("server")
    except redis.exceptions.NoPermissionError:
        if "version" not in hello:
            raise
        return {f"{hello.get('server', 'redis')}_version": hello["version"]}


def dotted(version: tuple[int, ...]) -> str:
    """A version as people write it."""
    return ".".join(str(part) for part in version)


def hide_password(url: str) -> str:
    """The URL with `***` where a password stands, or might stand in one that is mistyped."""
    shown = re.sub(r"(?s)^([^/@]*://)?.*@", r"\1***@", url)
    return re.sub(r"(password=)[^&]*", r"\1***", shown)
