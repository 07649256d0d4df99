"""A server that speaks TLS, with an authority of its own making."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.course.server.identity import probe
from tests.test_server import taken_port

HOSTS = "subjectAltName=DNS:localhost"


def openssl(*words: str, within: Path) -> None:
    """Run openssl in a folder."""
    subprocess.run(["openssl", *words], cwd=within, check=True, capture_output=True)


def certificates(folder: Path) -> None:
    """An authority in `ca.crt`, and what it has signed for this machine in `server.crt`."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    # Python 3.13 takes no authority that does not say what its key is for.
    about = ["-subj", "/CN=An authority", "-addext", "keyUsage=critical,keyCertSign"]
    openssl("req", "-x509", *key, "-days", "2", *about, "-keyout", "ca.key", "-out", "ca.crt",
            within=folder)  # fmt: skip
    openssl("req", *key, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr",
            within=folder)  # fmt: skip
    (folder / "hosts").write_text(HOSTS)
    signed = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "hosts"]
    openssl("x509", "-req", "-in", "server.csr", *signed, "-days", "2", "-out", "server.crt",
            within=folder)  # fmt: skip


@contextlib.contextmanager
def tls_server(folder: Path) -> Iterator[str]:
    """A redis-server behind TLS. Yields its URL, with the authority that is to be trusted."""
    program = shutil.which("redis-server")
    if not program or not shutil.which("openssl"):
        pytest.skip("SKIPPED, there is no redis-server or no openssl on PATH to try TLS with")
    certificates(folder)
    with taken_port() as port:
        pass
    command = [program, "--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", "--save", "",
               "--tls-cert-file", "server.crt", "--tls-key-file", "server.key",
               "--tls-ca-cert-file", "ca.crt", "--tls-auth-clients", "no"]  # fmt: skip
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            printed = ""
            while "Ready to accept" not in printed:
                line = process.stdout.readline()
                printed += line
                if not line:
                    pytest.skip(f"SKIPPED, this redis-server speaks no TLS: {printed[-200:]}")
            url = f"rediss://localhost:{port}/0?ssl_ca_certs={folder / 'ca.crt'}"
            with probe(url) as client:
                assert client.ping()
            yield url
        finally:
            process.kill()
