"""Listening sockets that outlive the workers that accept from them."""

from __future__ import annotations

import socket
import sys
from contextlib import ExitStack

import pytest

from backend.cli.listening import Address, open_listeners, require_free
from backend.cli.output import CommandFailed
from tests.cli.governor_process import free_port


def address(port: int, host: str = "127.0.0.1") -> Address:
    return Address(host, port, "GOVERNOR_GATEWAY_PORT")


def test_workers_share_one_port() -> None:
    port = free_port()
    with ExitStack() as opened:
        listeners = [opened.enter_context(each) for each in open_listeners(address(port), 3)]
        assert {each.getsockname()[1] for each in listeners} == {port}
        assert len({each.fileno() for each in listeners}) == (3 if sys.platform == "linux" else 1)
        with socket.create_connection(("127.0.0.1", port)):
            pass


def test_a_port_that_another_shares_is_not_free() -> None:
    """``SO_REUSEPORT`` alone would let two Governors take turns on one port."""
    port = free_port()
    with ExitStack() as opened:
        for each in open_listeners(address(port), 1):
            opened.enter_context(each)
        with pytest.raises(CommandFailed, match=rf"Port {port} .*GOVERNOR_GATEWAY_PORT"):
            open_listeners(address(port), 1)


def test_a_port_is_free_again_after_its_connections_closed() -> None:
    port = free_port()
    with ExitStack() as opened:
        (listener,) = open_listeners(address(port), 1)
        opened.enter_context(listener)
        client = opened.enter_context(socket.create_connection(("127.0.0.1", port)))
        listener.accept()[0].close()  # the server closes first, so its side waits in TIME_WAIT
        assert client.recv(1) == b""
    require_free(address(port))


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(CommandFailed, match="cannot be used"):
        require_free(address(free_port(), "192.0.2.1"))


def test_an_unknown_host_is_refused() -> None:
    with pytest.raises(CommandFailed, match="no such address"):
        require_free(address(free_port(), "no-such-host.invalid"))
