"""Whatever proxy the environment names, this machine is reached without it."""

from __future__ import annotations

import pytest

from helpers.course.loopback import is_loopback, spare_loopback

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "localhost,127.0.0.1,::1"),
        ("", "localhost,127.0.0.1,::1"),
        ("example.org, localhost", "example.org, localhost,127.0.0.1,::1"),
        ("*", "*"),
    ],
)
def test_this_machine_is_excepted_and_what_was_excepted_stays(before, after):
    environment = {} if before is None else {"NO_PROXY": before, "no_proxy": before}
    for _ in range(2):
        spare_loopback(environment)
        assert environment == {"NO_PROXY": after, "no_proxy": after}


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:8080/feed", True),
        ("http://127.1.2.3", True),
        ("http://localhost:1", True),
        ("http://[::1]:1", True),
        ("https://stream.wikimedia.org/v2", False),
        ("https://localhost.example.org", False),
        ("http://10.0.0.1", False),
        ("no url", False),
    ],
)
def test_which_urls_lead_to_this_machine(url, here):
    assert is_loopback(url) is here
