"""Who may open the console."""

from __future__ import annotations

import pytest

from ptr_common.arguments import is_loopback
from widowx_bringup.console.access import Access

HERE = {"Host": "127.0.0.1:8080"}


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("192.168.1.5", False),
        ("robot", False),
        ("", False),
    ],
)
def test_only_addresses_of_this_computer_are_its_own(host: str, expected: bool) -> None:
    assert is_loopback(host) == expected
    assert bool(Access(host).token) != expected


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080"])
def test_on_this_computer_no_token_is_needed(host: str) -> None:
    assert not Access("127.0.0.1").refusal("/live", {"Host": host})


@pytest.mark.parametrize("host", ["evil.example:8080", "192.168.1.5", "", "["])
def test_a_foreign_name_that_points_here_is_refused(host: str) -> None:
    assert "this computer only" in Access("127.0.0.1").refusal("/", {"Host": host})


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://127.0.0.1:9", "null", "http://["]
)
def test_a_foreign_page_is_refused(origin: str) -> None:
    refusal = Access("127.0.0.1").refusal("/live", {**HERE, "Origin": origin})
    assert "may not use this console" in refusal


def test_the_consoles_own_page_is_let_in() -> None:
    headers = {**HERE, "Origin": "http://127.0.0.1:8080"}
    assert not Access("127.0.0.1").refusal("/live", headers)


@pytest.mark.parametrize("query", ["", "?token=", "?token=wrong", "?token=ä%ff", "?t=1"])
def test_open_to_the_network_it_wants_its_token(query: str) -> None:
    access = Access("0.0.0.0")
    for path in ("/", "/live"):
        assert "?token=" in access.refusal(f"{path}{query}", {"Host": "robot:8080"})
        assert not access.refusal(f"{path}?token={access.token}", {"Host": "robot:8080"})


def test_no_two_consoles_have_one_token() -> None:
    assert Access("0.0.0.0").token != Access("0.0.0.0").token


def test_the_printed_address_has_the_token() -> None:
    access = Access("192.168.1.5")
    assert access.url(8080) == f"http://192.168.1.5:8080/?token={access.token}"
    assert Access("::1").url(8080) == "http://[::1]:8080/"
    assert "0.0.0.0" not in Access("0.0.0.0").url(8080)
