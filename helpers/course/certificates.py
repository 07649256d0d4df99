"""Files that the environment names for TLS: one that cannot be used ends every client of it."""

from __future__ import annotations

import os
import ssl
from collections.abc import MutableMapping

LEFT_OUT: list[str] = []  # by this process, when it began: a sentence for each


def leave_out_unusable(environment: MutableMapping[str, str] = os.environ) -> list[str]:
    """Leave such files out, for this process and all that it starts; a sentence for each."""
    told = []
    for name in ("SSL_CERT_FILE", "SSLKEYLOGFILE"):
        if (file := environment.get(name)) and (why := _refusal(name, file)):
            del environment[name]
            told.append(f"{name} is left out: {file} cannot be used ({why}).")
    if environment is os.environ:
        LEFT_OUT.extend(told)
    return told


def _refusal(name: str, file: str) -> str:
    try:
        if name == "SSLKEYLOGFILE":
            open(file, "a").close()
        else:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except OSError as error:
        return error.strerror or str(error)
    return ""
