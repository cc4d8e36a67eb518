import base64
import json
import shutil
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pumpwatch.domain.alerts import Alert, Kind, Severity, ms_from_iso
from pumpwatch.domain.clock import ManualClock
from pumpwatch.domain.errors import DeliveryError, InvalidInput
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import Notice
from pumpwatch.transports.webhook import WebhookNotifier, sign, verify

SECRET = "whsec_" + base64.b64encode(b"a" * 32).decode()
NEW_SECRET = "whsec_" + base64.b64encode(b"b" * 32).decode()
OPENED = ms_from_iso("2025-11-17T18:00:00Z")
NOW_S = 1_763_402_400
ALERT = Alert(
    "a1", SiteKey("default", "mh0001"), "capacity:pump1", Kind.PREDICTIVE, Severity.WARNING,
    ("pump_ragging",), "pump1", 0.9, {"capacity_index": 0.73}, OPENED, OPENED,
)  # fmt: skip
NOTICE = Notice(
    "a1-1-webhook", "異物絡まりの疑い", "本文", ALERT, "opened", "港町第1", "http://x/a1"
)


class Receiver:
    """A real server on this machine that answers as it is told and remembers what it got."""

    def __init__(self):
        self.status, self.headers, self.got = 200, {}, []
        self.drip = False
        self.release = threading.Event()
        self.release.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
                if not receiver.drip:
                    receiver.release.wait(10)
                self.send_response(receiver.status)
                while receiver.drip and not receiver.release.wait(0.02):
                    self.send_header("x-more", "to come")
                    self.flush_headers()
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]

    def __enter__(self):
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.release.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def receiver():
    with Receiver() as running:
        yield running


def notifier(url, secrets=(SECRET,), **options):
    options = {"clock": ManualClock(NOW_S * 1000), "allow_loopback": True} | options
    return WebhookNotifier(url, list(secrets), **options)


def refused(url, **options):
    with pytest.raises(DeliveryError) as caught:
        notifier(url, **options).send(NOTICE)
    return caught.value


def test_a_notice_arrives_signed_and_a_receiver_can_verify_it(receiver):
    notifier(f"http://localhost:{receiver.port}/hook?x=1").send(NOTICE)
    ((headers, body),) = receiver.got
    assert headers["webhook-id"] == "a1-1-webhook"
    assert headers["webhook-timestamp"] == str(NOW_S)
    assert headers["host"] == f"localhost:{receiver.port}"
    assert verify(headers, body, SECRET, NOW_S + 60)
    assert not verify(headers, body + b" ", SECRET, NOW_S)
    assert not verify(headers, body, NEW_SECRET, NOW_S)
    assert not verify(headers, body, SECRET, NOW_S + 301)
    assert not verify({}, body, SECRET, NOW_S)


def test_the_body_says_what_a_machine_needs_and_what_a_person_reads(receiver):
    notifier(f"http://127.0.0.1:{receiver.port}/").send(NOTICE)
    said = json.loads(receiver.got[0][1])
    assert said["type"] == "alert.opened"
    assert said["timestamp"] == "2025-11-17T18:00:00Z"
    assert said["data"]["title"] == "異物絡まりの疑い"
    assert said["data"]["alert"] == {
        "id": "a1",
        "tenant": "default",
        "site": "mh0001",
        "site_name": "港町第1",
        "kind": "predictive",
        "severity": "warning",
        "fault": ["pump_ragging"],
        "target": "pump1",
        "score": 0.9,
        "cause": "capacity:pump1",
        "opened": "2025-11-17T18:00:00Z",
        "changed": "2025-11-17T18:00:00Z",
        "acknowledged": None,
        "resolved": None,
        "evidence": {"capacity_index": 0.73},
    }


def test_the_signature_is_that_of_the_published_convention():
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert (
        sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', [key])
        == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


def test_while_a_secret_changes_both_the_old_and_the_new_one_verify(receiver):
    notifier(f"http://127.0.0.1:{receiver.port}/", [SECRET, NEW_SECRET]).send(NOTICE)
    ((headers, body),) = receiver.got
    assert verify(headers, body, SECRET, NOW_S)
    assert verify(headers, body, NEW_SECRET, NOW_S)


@pytest.mark.parametrize(
    ("status", "permanent"),
    [
        *((status, True) for status in (301, 308, 400, 401, 404, 410)),
        *((status, False) for status in (408, 429, 500, 503)),
    ],
)
def test_what_cannot_heal_is_told_from_what_can(receiver, status, permanent):
    receiver.status = status
    receiver.headers = {"location": f"http://127.0.0.1:{receiver.port}/elsewhere"}
    error = refused(f"http://127.0.0.1:{receiver.port}/")
    assert error.permanent is permanent
    assert str(status) in str(error)
    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [("120", 120), ("Mon, 17 Nov 2025 18:01:00 GMT", 60), ("soon", None), ("", None)],
)
def test_the_time_a_receiver_asks_for_is_passed_on(receiver, value, wait_s):
    receiver.status, receiver.headers = 429, {"retry-after": value}
    clock = ManualClock(OPENED)
    error = refused(f"http://127.0.0.1:{receiver.port}/", clock=clock)
    assert error.retry_after_s == wait_s


def test_a_receiver_that_does_not_answer_holds_nobody_for_long(receiver):
    receiver.release.clear()
    error = refused(f"http://127.0.0.1:{receiver.port}/", timeout_s=0.2)
    assert "no answer within 0.2 s" in str(error) or "Timeout" in str(error)
    assert not error.permanent


def test_a_receiver_that_answers_drop_by_drop_holds_nobody_for_long(receiver):
    receiver.drip = True
    receiver.release.clear()
    error = refused(f"http://127.0.0.1:{receiver.port}/", timeout_s=0.3)
    assert "no answer within 0.3 s" in str(error)


def test_a_receiver_that_is_away_is_tried_again_later(receiver):
    receiver.server.server_close()
    assert not refused(f"http://127.0.0.1:{receiver.port}/").permanent


def test_a_name_nobody_knows_is_tried_again_later():
    def resolve(host, port):
        raise OSError("unknown name")

    error = refused("https://hook.example/", resolve=resolve)
    assert "hook.example cannot be resolved" in str(error)
    assert not error.permanent


PRIVATE = [
    "127.0.0.1",
    "10.0.0.8",
    "192.168.1.1",
    "172.16.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "::1",
    "fd00::1",
    "fe80::1",
    "::ffff:10.0.0.8",
    "64:ff9b::a00:8",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_inside_the_house_is_not_spoken_to(address):
    error = refused(
        "https://hook.example/", allow_loopback=False, resolve=lambda host, port: [address]
    )
    assert address in str(error)
    assert "not public" in str(error)


def test_one_private_address_among_public_ones_is_enough_to_refuse():
    addresses = ["93.184.216.34", "10.0.0.8"]
    error = refused("https://hook.example/", resolve=lambda host, port: addresses)
    assert "10.0.0.8" in str(error)


def test_http_is_for_this_machine_only():
    error = refused("http://hook.example/", resolve=lambda host, port: ["93.184.216.34"])
    assert "not public" in str(error)
    with pytest.raises(InvalidInput, match="https"):
        notifier("http://localhost/", allow_loopback=False)


@pytest.mark.parametrize(
    "url", ["ftp://x/", "https://", "hook", "https://user:pw@hook.example/", "https://a b/"]
)
def test_an_address_that_cannot_be_used_is_refused_at_the_start(url):
    with pytest.raises(InvalidInput, match="url"):
        notifier(url)


@pytest.mark.parametrize("secret", ["", "hello", "whsec_short", "whsec_" + "é" * 40, "a" * 44])
def test_a_secret_that_cannot_be_used_is_refused_without_being_shown(secret):
    with pytest.raises(InvalidInput, match="secret") as caught:
        notifier("https://hook.example/", [secret])
    assert not secret or secret not in str(caught.value)


def test_at_least_one_secret_is_needed():
    with pytest.raises(InvalidInput, match="missing"):
        notifier("https://hook.example/", [])


@pytest.fixture
def tls_receiver(receiver, tmp_path):
    """The receiver behind a certificate for hook.example, and a context that trusts it."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=hook.example",
         "-addext", "subjectAltName=DNS:hook.example", "-keyout", key, "-out", cert],
        check=True,
        capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    receiver.server.socket = context.wrap_socket(receiver.server.socket, server_side=True)
    return receiver, ssl.create_default_context(cafile=str(cert))


def test_the_certificate_is_checked_against_the_name_not_the_address(tls_receiver):
    receiver, tls = tls_receiver
    options = {"tls": tls, "resolve": lambda host, port: ["127.0.0.1"]}
    notifier(f"https://hook.example:{receiver.port}/", **options).send(NOTICE)
    assert receiver.got[0][0]["host"] == f"hook.example:{receiver.port}"
    error = refused(f"https://other.example:{receiver.port}/", **options)
    assert "other.example" in str(error)
    assert len(receiver.got) == 1


def test_a_certificate_nobody_vouches_for_is_refused(tls_receiver):
    receiver, _ = tls_receiver
    url = f"https://hook.example:{receiver.port}/"
    error = refused(url, resolve=lambda host, port: ["127.0.0.1"])
    assert "certificate" in str(error).lower()
    assert receiver.got == []
