"""The sign of life reaches a service, and what it answers is understood without giving its address away."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from pumpwatch.domain.errors import DeliveryError
from pumpwatch.transports.heartbeat import HttpHeartbeat

SECRET = "/ping/5f0c-secret"


class Service(HTTPServer):
    """Answers every GET with ``status``."""

    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.heard: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}{SECRET}"


class _Answer(BaseHTTPRequestHandler):
    server: Service

    def do_GET(self) -> None:
        self.server.heard.append(self.path)
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as made:
        Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
        yield made
        made.shutdown()


def test_a_beat_is_one_get_of_the_address(service: Service) -> None:
    HttpHeartbeat(service.url).beat()
    assert service.heard == [SECRET]


@pytest.mark.parametrize("status", [302, 404, 500])
def test_anything_but_success_is_an_error_that_keeps_the_secret(
    service: Service, status: int
) -> None:
    service.status = status
    with pytest.raises(DeliveryError, match=f"answered the heartbeat with {status}") as error:
        HttpHeartbeat(service.url).beat()
    assert SECRET not in str(error.value)


def test_a_service_that_is_away_is_an_error_that_keeps_the_secret() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}{SECRET}"
        with pytest.raises(DeliveryError, match=r"did not reach 127\.0\.0\.1") as error:
            HttpHeartbeat(url).beat()
    assert SECRET not in str(error.value)
