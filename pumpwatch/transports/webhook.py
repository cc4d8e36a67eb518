"""Signed webhook: an alert as JSON to another system, by the Standard Webhooks conventions.

Request: ``POST`` with ``webhook-id`` (stays the same when sent again: the receiver drops what it
has), ``webhook-timestamp`` (seconds since 1970) and ``webhook-signature``: one ``v1,<base64>`` per
secret, separated by blanks, each the HMAC-SHA256 of ``id.timestamp.body``. Body::

    {"type": "alert.opened",               # alert.opened | alert.worsened | alert.resolved
     "timestamp": "2025-11-17T18:00:00Z",  # when the alert changed last
     "data": {"alert": {"id", "tenant", "site", "site_name", "kind", "severity", "fault", "target", "score",
                        "cause", "opened", "changed", "acknowledged", "resolved", "evidence"},
              "title": "...", "body": "...", "url": "..."}}

A receiver takes the body's bytes as they came, refuses a timestamp more than five minutes off,
computes the HMAC with its secret and compares it in constant time with each signature given:
`verify` does just that. It answers 2xx within ten seconds; 410 says "never again".
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import socket
import ssl
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import urlsplit

import httpx

from pumpwatch.domain.alerts import iso_utc
from pumpwatch.domain.clock import Clock
from pumpwatch.domain.errors import DeliveryError, InvalidInput
from pumpwatch.domain.ports import Notice

SKEW_S = 300
_PREFIX = "whsec_"
_NAT64 = IPv6Network("64:ff9b::/96")

Resolve = Callable[[str, int], list[str]]


class WebhookNotifier:
    """Posts signed notices to ``url``.

    ``secrets`` are ``whsec_<base64 of 24 to 64 bytes>``; give the old and the new one while the
    receiver changes over. Only https to public addresses is spoken to, and the address that was
    checked is the one connected to. ``private_hosts`` may be private; ``allow_loopback`` admits this
    machine, then also over http. Redirects are not followed, proxies of the environment not used.
    ``clock`` is the wall's, whatever clock the hub runs on: receivers compare it with their own.
    """

    def __init__(
        self,
        url: str,
        secrets: Sequence[str],
        *,
        clock: Clock,
        name: str = "webhook",
        private_hosts: Collection[str] = (),
        allow_loopback: bool = False,
        timeout_s: float = 10.0,
        tls: ssl.SSLContext | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        self.name = name
        self._url = _checked_url(url, allow_loopback)
        self._keys = [_key(secret) for secret in secrets]
        if not self._keys:
            raise InvalidInput("secret", "is missing", "give at least one whsec_... secret")
        self._clock, self._timeout_s = clock, timeout_s
        self._private_hosts, self._allow_loopback = frozenset(private_hosts), allow_loopback
        self._tls = tls or ssl.create_default_context()
        self._resolve = resolve or _resolve

    def send(self, notice: Notice) -> None:
        """Raises `DeliveryError`: permanent for 410, redirects and 4xx except 408 and 429."""
        body = json.dumps(_payload(notice), ensure_ascii=False, separators=(",", ":")).encode()
        seconds = self._clock.now_ms() // 1000
        headers = {
            "content-type": "application/json",
            "user-agent": "pumpwatch",
            "webhook-id": notice.idempotency_key,
            "webhook-timestamp": str(seconds),
            "webhook-signature": sign(notice.idempotency_key, seconds, body, self._keys),
        }
        address = self._address()
        try:
            status, reply_headers = asyncio.run(self._post(address, headers, body))
        except TimeoutError:
            raise self._error(f"no answer within {self._timeout_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise self._error(f"{type(error).__name__}: {error}") from error
        self._judge(status, reply_headers)

    async def _post(
        self, address: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, httpx.Headers]:
        """Connects to ``address`` but speaks to, and checks the certificate of, the host named."""
        async with (
            asyncio.timeout(self._timeout_s),
            httpx.AsyncClient(verify=self._tls, trust_env=False, timeout=self._timeout_s) as client,
            client.stream(
                "POST",
                self._url.copy_with(host=address),
                headers={**headers, "host": self._url.netloc.decode("ascii")},
                content=body,
                extensions={"sni_hostname": self._url.host},
            ) as response,
        ):
            return response.status_code, response.headers

    def _address(self) -> str:
        """An address of the host, once all of them were found fit to be spoken to."""
        host, port = self._url.host, self._url.port or (443 if self._url.scheme == "https" else 80)
        try:
            addresses = self._resolve(host, port)
        except OSError as error:
            raise self._error(f"{host} cannot be resolved: {error}") from error
        for address in addresses:
            if not self._fit(address):
                raise self._error(
                    f"{host} is at {address}, which is not public",
                    "allow the host in the settings if that is meant",
                )
        if not addresses:
            raise self._error(f"{host} has no address")
        return addresses[0]

    def _fit(self, address: str) -> bool:
        ip = _effective(ip_address(address))
        if ip.is_loopback:
            return self._allow_loopback
        if self._url.scheme != "https":
            return False
        public = ip.is_global and not ip.is_multicast
        return public or self._url.host in self._private_hosts

    def _judge(self, status: int, headers: httpx.Headers) -> None:
        if 200 <= status < 300:
            return
        if status == 410:
            raise self._error("410 gone: the receiver wants no more", permanent=True)
        if 300 <= status < 400:
            raise self._error(
                f"{status} redirect, which is not followed",
                "give the final address",
                permanent=True,
            )
        permanent = 400 <= status < 500 and status not in (408, 429)
        wait_s = _retry_after_s(headers.get("retry-after", ""), self._clock.now_ms() / 1000)
        raise self._error(f"answered {status}", permanent=permanent, retry_after_s=wait_s)

    def _error(
        self,
        problem: str,
        remedy: str = "",
        *,
        permanent: bool = False,
        retry_after_s: float | None = None,
    ) -> DeliveryError:
        text = f"{self.name}: {problem}"
        return DeliveryError(text, remedy, permanent=permanent, retry_after_s=retry_after_s)


def sign(message_id: str, seconds: int, body: bytes, keys: Sequence[bytes]) -> str:
    """The value of ``webhook-signature``: one ``v1,<base64>`` per key."""
    signed = f"{message_id}.{seconds}.".encode() + body
    digests = (hmac.new(key, signed, hashlib.sha256).digest() for key in keys)
    return " ".join("v1," + base64.b64encode(digest).decode() for digest in digests)


def verify(headers: Mapping[str, str], body: bytes, secret: str, now_s: float) -> bool:
    """For receivers: whether ``body`` is ours and fresh. Header names in lower case."""
    try:
        seconds = int(headers["webhook-timestamp"])
        given = headers["webhook-signature"].split()
        expected = sign(headers["webhook-id"], seconds, body, [_key(secret)])
    except (KeyError, ValueError):
        return False
    fresh = abs(now_s - seconds) <= SKEW_S
    return fresh and any(hmac.compare_digest(expected.encode(), s.encode()) for s in given)


def _payload(notice: Notice) -> dict[str, Any]:
    alert = notice.alert
    return {
        "type": f"alert.{notice.step}",
        "timestamp": iso_utc(alert.changed_ms),
        "data": {
            "alert": {
                "id": alert.id,
                "tenant": alert.key.tenant,
                "site": alert.key.site,
                "site_name": notice.site_name,
                "kind": str(alert.kind),
                "severity": str(alert.severity),
                "fault": list(alert.fault),
                "target": alert.target,
                "score": alert.score,
                "cause": alert.cause,
                "opened": iso_utc(alert.opened_ms),
                "changed": iso_utc(alert.changed_ms),
                "acknowledged": _when(alert.acknowledged_ms),
                "resolved": _when(alert.resolved_ms),
                "evidence": dict(alert.evidence),
            },
            "title": notice.title,
            "body": notice.body,
            "url": notice.url,
        },
    }


def _when(t_ms: int | None) -> str | None:
    return None if t_ms is None else iso_utc(t_ms)


def _checked_url(url: str, allow_loopback: bool) -> httpx.URL:
    parts = urlsplit(url)
    if parts.scheme not in (["https", "http"] if allow_loopback else ["https"]):
        raise InvalidInput("url", f"{url!r} is not https", "give an https:// address")
    blank = any(c.isspace() for c in url)
    if blank or not parts.hostname or parts.username or parts.password:
        raise InvalidInput("url", f"{url!r} cannot be used", "give https://host/path, no user name")
    try:
        return httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InvalidInput("url", f"{url!r}: {error}", "give https://host/path") from None


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(_PREFIX) or not 24 <= len(key) <= 64:
        raise InvalidInput(
            "secret",
            "is not whsec_ and base64 of 24 to 64 bytes",
            "make one: echo whsec_$(openssl rand -base64 32)",
        )
    return key


def _resolve(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _effective(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 one stands for, if it does."""
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is not None:
            return ip.ipv4_mapped
        if ip in _NAT64:
            return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip


def _retry_after_s(value: str, now_s: float) -> float | None:
    """Seconds from ``Retry-After``, a number or an HTTP date; None when there is none."""
    if value.strip().isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.fromtimestamp(now_s, UTC)).total_seconds())
