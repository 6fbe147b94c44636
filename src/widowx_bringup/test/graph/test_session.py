"""ROS domains of sessions on one computer; no node is started here."""

from __future__ import annotations

import os

import pytest

from widowx_bringup.graph import session
from widowx_bringup.graph.connection import EpisodeError


@pytest.fixture(autouse=True)
def no_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell that names no domain, and ports that no graph of this computer uses."""
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    monkeypatch.setattr(session, "LOCK_PORT", 31100 + os.getpid() % 1000)


def test_a_free_domain_is_set_and_released() -> None:
    with session.free_domain():
        first = os.environ["ROS_DOMAIN_ID"]
        assert 2 <= int(first) <= session.LAST_DOMAIN
    assert "ROS_DOMAIN_ID" not in os.environ
    with session.free_domain():
        assert os.environ["ROS_DOMAIN_ID"] == first


def test_two_graphs_have_different_domains() -> None:
    with session.free_domain():
        first = os.environ.pop("ROS_DOMAIN_ID")
        with session.free_domain():
            assert os.environ["ROS_DOMAIN_ID"] != first
        os.environ["ROS_DOMAIN_ID"] = first


def test_the_domain_of_the_shell_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", "7")
    with session.free_domain():
        assert os.environ["ROS_DOMAIN_ID"] == "7"
    assert os.environ["ROS_DOMAIN_ID"] == "7"


def test_without_a_free_domain_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "LAST_DOMAIN", 2)
    with session.free_domain():
        del os.environ["ROS_DOMAIN_ID"]
        with (
            pytest.raises(
                EpisodeError, match=r"no free ROS_DOMAIN_ID in 2\.\.2; export one"
            ),
            session.free_domain(),
        ):
            pass
        os.environ["ROS_DOMAIN_ID"] = "2"
