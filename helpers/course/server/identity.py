"""What answers at a URL: a server that the course can use, or the sentence that says why not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from helpers.course.errors import ServerError

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


def probe(url: str) -> redis.Redis:
    """A client for a first question to a server: short time-outs, nothing sent twice."""
    return redis.Redis.from_url(
        url,
        decode_responses=True,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
        driver_info=None,  # to say who asks would be two more commands
        socket_timeout=ANSWER_TIMEOUT_S,
        socket_connect_timeout=ANSWER_TIMEOUT_S,
    )


def describe(url: str, source: Source, why: str) -> Server:
    """Ask the server at a URL what it is.

    Raises:
        ServerError: what answers there, if anything, is of no use to the course.
    """
    product, version = identify(url)
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST:
        raise ServerError(
            f"The server at {hide_password(url)} is {product} {version}, and the course needs "
            f"{dotted(OLDEST)} or newer: set REDIS_URL to another, or unset it."
        )
    return Server(url, source, why, product, version)


def identify(url: str) -> tuple[str, str]:
    """The product and version that answer at a URL, by INFO.

    Raises:
        ServerError: nothing answers, the password is wrong, or it is no Redis.
    """
    shown = hide_password(url)
    remedy = "Correct REDIS_URL, or unset it: the course then starts a server of its own."
    alien = f"What answers at {shown} is not Redis. {remedy}"
    try:
        urlsplit(url).port  # noqa: B018  raises ValueError where it is no number
        with probe(url) as client:
            info = client.info("server")
    except (redis.InvalidResponse, UnicodeDecodeError, AttributeError) as error:
        raise ServerError(alien) from error
    except ValueError:  # no word of the URL or the error: a password may stand anywhere in them
        raise ServerError(
            "REDIS_URL is no address of a Redis server: write it like redis://localhost:6379/0 "
            "or redis://:password@localhost:6379/0, or unset it."
        ) from None
    except redis.AuthenticationError as error:
        lack = "asks for a password" if "required" in str(error) else "refuses the password"
        raise ServerError(f"The server at {shown} {lack}. {remedy}") from error
    except redis.BusyLoadingError as error:
        raise ServerError(
            f"The server at {shown} is still loading its data: wait a moment, then try again."
        ) from error
    except redis.TimeoutError as error:
        raise ServerError(f"The server at {shown} does not answer. {remedy}") from error
    except redis.ResponseError as error:
        said = str(error).split(", with args")[0]  # an unknown AUTH is told with its password
        raise ServerError(f"The server at {shown} says: {said}. {remedy}") from None
    except (redis.RedisError, OSError) as error:
        raise ServerError(f"No server answers at {shown} ({error}). {remedy}") from error
    if "valkey_version" in info:
        return "Valkey", info["valkey_version"]
    if "redis_version" in info:
        return "Redis", str(info["redis_version"])
    raise ServerError(alien)


def dotted(version: tuple[int, ...]) -> str:
    """A version as people write it."""
    return ".".join(str(part) for part in version)


def hide_password(url: str) -> str:
    """The URL with `***` where a password stands, or might stand in one that is mistyped."""
    shown = re.sub(r"(?s)^([^/@]*://)?.*@", r"\1***@", url)
    return re.sub(r"(password=)[^&]*", r"\1***", shown)
