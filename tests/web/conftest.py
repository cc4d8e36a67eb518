"""The sample fleet, served to a test client; each test gets one of its own."""

from __future__ import annotations

import importlib.util
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi.testclient import TestClient

from pumpwatch.web.app import create_app

_SPEC = importlib.util.spec_from_file_location(
    "sample_fleet", Path(__file__).with_name("sample_fleet.py")
)
assert _SPEC is not None
assert _SPEC.loader is not None
sample_fleet = importlib.util.module_from_spec(_SPEC)
sys.modules["sample_fleet"] = sample_fleet
_SPEC.loader.exec_module(sample_fleet)

BASE = "http://127.0.0.1:8080"


@pytest.fixture
def sample() -> Any:
    """The module that makes the sample fleet."""
    return sample_fleet


@pytest.fixture
def world() -> Any:
    return sample_fleet.sample_world()


@pytest.fixture
def empty() -> Any:
    return sample_fleet.empty_world()


@pytest.fixture
def serve() -> Iterator[Callable[..., TestClient]]:
    """A client of a server over a world: ``serve(world, demo=True)``."""
    clients: list[TestClient] = []

    def client_of(world: Any, **more: Any) -> TestClient:
        app = create_app(world.deps(**more))
        client = TestClient(app, BASE, raise_server_exceptions=False, follow_redirects=False)
        clients.append(client)
        return client

    yield client_of
    for client in clients:
        client.close()


@pytest.fixture
def client(world: Any, serve: Callable[..., TestClient]) -> TestClient:
    return serve(world)


@pytest.fixture
def send() -> Callable[..., Any]:
    """Send a form as the page would: with its token, from its own origin."""

    def post(client: TestClient, path: str, **fields: str) -> Any:
        client.get("/")
        token = client.cookies["pumpwatch_form"]
        headers = {"origin": BASE, "sec-fetch-site": "same-origin"}
        return client.post(path, data={"token": token, **fields}, headers=headers)

    return post


class Servers:
    """Real servers on loopback: ``server(world)`` starts one and gives its address."""

    def __init__(self) -> None:
        self._running: list[tuple[uvicorn.Server, threading.Thread, Any]] = []

    def __call__(self, world: Any, *, port: int = 0, **more: Any) -> str:
        bound = socket.create_server(("127.0.0.1", port))
        config = uvicorn.Config(create_app(world.deps(**more)), log_level="error")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
        thread.start()
        self._running.append((server, thread, world.feed))
        return f"http://127.0.0.1:{bound.getsockname()[1]}"

    def stop(self) -> None:
        for server, thread, feed in self._running:
            feed.close()
            server.should_exit = True
            thread.join(10)
            assert not thread.is_alive(), "an open event stream kept the server from stopping"
        self._running.clear()


@pytest.fixture
def server() -> Iterator[Servers]:
    servers = Servers()
    yield servers
    servers.stop()
