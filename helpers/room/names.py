"""The names of seats, the class code, secrets: what is allowed, and what is kept of it.

A code is for people to type, so that it is short. Its strength is in how many there are: of the
eight characters that are generated there are 8·10¹¹, and a board answers some thousand tries a
second. So a right code always gets in, however many wrong ones come from the same address: a
whole room may share one. Secrets are random, and only their digests are kept.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import unicodedata

from helpers.course.errors import CourseError

LONGEST_NAME = 40
LEAST_CODE = 8
LONGEST_CODE = 64
_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"  # without what looks alike
_SECRET = re.compile(r"[A-Za-z0-9_-]{32,100}")
_SIGNS = frozenset(" -_.'’()#")
# Letters and marks that show nothing: two names that differ in them look the same.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_MOST_MARKS = 3  # on one letter, as no script needs more


class NameRefusedError(CourseError):
    """A seat cannot be called so."""


def seat_name(said: object) -> str:
    """The name of a seat, with single spaces.

    Raises:
        NameRefusedError: it is none, or has characters that a name does not need.
    """
    name = " ".join(unicodedata.normalize("NFC", said).split()) if isinstance(said, str) else ""
    fits = 0 < len(name) <= LONGEST_NAME and name[0].isalnum()
    seen = not _UNSEEN.search(name) and _most_marks(name) <= _MOST_MARKS
    if not fits or not seen or not all(map(_allowed, name)):
        raise NameRefusedError(
            f"A seat's name begins with a letter or digit and has up to {LONGEST_NAME} letters, "
            "digits, spaces and - _ . ' ( ) #: choose one such as `seat 12`."
        )
    return name


def folded(name: str) -> str:
    """What two names have in common that are too much alike."""
    return unicodedata.normalize("NFKC", name).casefold()


def _most_marks(name: str) -> int:
    """The most marks one after the other: a tower of them covers what stands above it."""
    kinds = "".join(unicodedata.category(one)[0] for one in name)
    return max(map(len, re.findall("M+", kinds)), default=0)


def _allowed(character: str) -> bool:
    return character in _SIGNS or unicodedata.category(character)[0] in "LMN"


def new_code() -> str:
    """A code to read aloud and to type."""
    drawn = "".join(secrets.choice(_ALPHABET) for _ in range(8))
    return f"{drawn[:4]}-{drawn[4:]}"


def expect_code(code: str) -> str:
    """A code of the instructor's own.

    Raises:
        CourseError: it would be guessed too soon, or cannot be typed.
    """
    if not LEAST_CODE <= len(_plain(code)) <= LONGEST_CODE or not code.isprintable():
        raise CourseError(
            f"A class code has {LEAST_CODE} to {LONGEST_CODE} characters, so that it isn't "
            "guessed: choose a longer one, or leave --code out and the board makes one."
        )
    return code


def is_code(said: object, code: str) -> bool:
    """Whether it is the code; case, spaces and hyphens make no difference. In constant time."""
    given = _plain(said)[:LONGEST_CODE] if isinstance(said, str) else ""
    return hmac.compare_digest(_digest(given), _digest(_plain(code)))


def is_key(said: str, key: str) -> bool:
    """Whether it is the instructor's key. In constant time."""
    return hmac.compare_digest(_digest(said), _digest(key))


def new_secret() -> str:
    """A secret that is not to be guessed."""
    return secrets.token_urlsafe(24)


def secret_of_seat(said: object) -> str:
    """The secret that a seat proposes, or a new one if it proposes none.

    Raises:
        NameRefusedError: it proposes one that might be guessed.
    """
    if said is None:
        return new_secret()
    if not isinstance(said, str) or not _SECRET.fullmatch(said):
        raise NameRefusedError(
            "A seat's secret is 32 to 100 random letters, digits, - and _: leave it out, and the "
            "board makes one."
        )
    return said


def digest(secret: str) -> str:
    """What is kept of a secret: enough to know it by, and not enough to use it."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def _plain(code: str) -> str:
    return re.sub(r"[\s-]", "", code).casefold()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="replace")).digest()
