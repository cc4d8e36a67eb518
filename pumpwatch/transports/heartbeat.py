"""A sign of life to an outside service, which calls somebody when it stays away (a dead-man's switch)."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx

from pumpwatch.domain.errors import DeliveryError


class HttpHeartbeat:
    """``beat`` is one GET of ``url``. What the address holds besides its host is a secret and never said."""

    def __init__(self, url: str, timeout_s: float = 10.0) -> None:
        self._url, self._host, self._timeout_s = url, urlsplit(url).hostname, timeout_s

    def beat(self) -> None:
        """Returns when the other side has taken it. Raises `DeliveryError`."""
        try:
            answer = httpx.get(self._url, timeout=self._timeout_s)
        except httpx.HTTPError as error:
            raise DeliveryError(
                f"the heartbeat did not reach {self._host} ({type(error).__name__})",
                "see health.heartbeat_url and the way there",
            ) from None
        if not answer.is_success:
            raise DeliveryError(
                f"{self._host} answered the heartbeat with {answer.status_code}",
                "correct health.heartbeat_url",
            )
