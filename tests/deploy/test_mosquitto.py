"""The broker's files: real mosquitto starts with them, and they keep sites apart."""

from __future__ import annotations

import getpass
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import Queue
from typing import cast

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from pumpwatch.transports.broker import MOSQUITTO_CONF
from pumpwatch.transports.wire import MAX_PAYLOAD_BYTES
from pumpwatch_edge.message import Channel

DEPLOY = Path(__file__).parents[2] / "deploy"
SIMPLE = (DEPLOY / "mosquitto.conf").read_text()
SECURE = (DEPLOY / "mosquitto-tls.conf").read_text()
LIMITS = {
    "max_inflight_messages", "max_queued_messages", "max_queued_bytes", "max_packet_size",
    "set_tcp_nodelay", "autosave_interval", "persistent_client_expiration",
}  # fmt: skip
DEBIAN_MAIN = (
    "persistence true\npersistence_location {folder}/\nlog_dest stderr\ninclude_dir {conf}\n"
)
"""What Debian's main file says before it reads conf.d."""
START_S, WAIT_S = 15, 10

Start = Callable[[str], None]
Connect = Callable[[str], mqtt.Client]


def settings(text: str) -> dict[str, str]:
    lines = [line.split(None, 1) for line in text.splitlines() if line and line[0] != "#"]
    return dict(lines)


@pytest.mark.parametrize("text", [SIMPLE, SECURE], ids=["simple", "secure"])
def test_limits_agree_with_those_of_the_brokers_we_start_ourselves(text: str) -> None:
    ours, theirs = settings(MOSQUITTO_CONF), settings(text)

    assert {name: theirs.get(name) for name in LIMITS} == {name: ours.get(name) for name in LIMITS}


def test_a_packet_has_room_for_the_largest_payload_and_its_topic() -> None:
    assert int(settings(SIMPLE)["max_packet_size"]) > MAX_PAYLOAD_BYTES + 1024


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def start(tmp_path: Path, port: int) -> Iterator[Start]:
    """Start the real mosquitto with a configuration; it ends with the test."""
    file, log = tmp_path / "mosquitto.conf", tmp_path / "log"
    running: list[subprocess.Popen[bytes]] = []

    def run(text: str) -> None:
        file.write_text(f"user {getpass.getuser()}\n{text}")
        with log.open("wb") as out:
            child = subprocess.Popen(["mosquitto", "-c", str(file)], stdout=out, stderr=out)
        running.append(child)
        deadline = time.monotonic() + START_S
        while not accepts(port):
            assert child.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        assert "Error" not in log.read_text()

    yield run
    for child in running:
        child.terminate()
        child.wait(START_S)


@pytest.mark.broker
def test_mosquitto_starts_with_the_file_of_the_compose_file(
    tmp_path: Path, port: int, start: Start
) -> None:
    text = SIMPLE.replace("/mosquitto/data", str(tmp_path))
    start(text.replace("listener 1883", f"listener {port} 127.0.0.1"))

    with client(port) as one:
        send(one, topic("mh0001", Channel.STATUS), "hello")
        assert read(one, topic("mh0001", Channel.STATUS)) == "hello"


@pytest.fixture
def connect(tmp_path: Path, port: int, start: Start) -> Iterator[Connect]:
    """A broker with TLS, credentials and rights as deployed; gives a client for a user."""
    tools = ("openssl", "mosquitto_passwd")
    if not all(map(shutil.which, tools)):
        pytest.skip(f"{' and '.join(tools)} are needed")
    call("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=broker", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(tmp_path / "pumpwatch.key"), "-out", str(tmp_path / "pumpwatch.crt"))  # fmt: skip
    passwords = tmp_path / "pumpwatch.passwd"
    passwords.touch(mode=0o600)
    for user in ("hub", "mh0001", "mh0002"):
        call("mosquitto_passwd", "-b", str(passwords), user, f"{user}-secret")
    shutil.copy(DEPLOY / "mosquitto.acl", tmp_path / "pumpwatch.acl")
    drop_in = tmp_path / "conf.d" / "pumpwatch.conf"
    drop_in.parent.mkdir()
    text = re.sub(r"/etc/mosquitto/(certs/)?", f"{tmp_path}/", SECURE)
    drop_in.write_text(text.replace("listener 8883", f"listener {port} 127.0.0.1"))
    start(DEBIAN_MAIN.format(folder=tmp_path, conf=drop_in.parent))
    trusted = ssl.create_default_context(cafile=str(tmp_path / "pumpwatch.crt"))
    with ExitStack() as clients:
        yield lambda user: clients.enter_context(client(port, user, trusted))


@pytest.mark.broker
def test_nobody_comes_in_without_a_password_or_without_tls(connect: Connect, port: int) -> None:
    with pytest.raises(ConnectionRefusedError):
        connect("")
    with pytest.raises(ConnectionRefusedError), client(port, "hub"):
        pass


@pytest.mark.broker
def test_the_hub_hears_a_site_and_the_site_hears_the_hub(connect: Connect) -> None:
    hub, site = connect("hub"), connect("mh0001")
    for channel in (Channel.TELEMETRY, Channel.EVENT, Channel.STATUS):
        send(site, topic("mh0001", channel), "from the site")
        assert read(hub, topic("+", channel)) == "from the site"
    for channel in (Channel.ACK, Channel.CONFIG):
        send(hub, topic("mh0001", channel), "from the hub")
        assert read(site, topic("mh0001", channel)) == "from the hub"


@pytest.mark.broker
def test_a_site_neither_speaks_for_another_nor_hears_it(connect: Connect) -> None:
    hub, site, thief = connect("hub"), connect("mh0001"), connect("mh0002")
    for channel in (Channel.TELEMETRY, Channel.EVENT, Channel.STATUS):
        send(site, topic("mh0001", channel), "mine")
        send(thief, topic("mh0001", channel), "forged")
        assert read(hub, topic("mh0001", channel)) == "mine"
        assert read(thief, topic("mh0001", channel)) is None
    send(hub, topic("mh0001", Channel.ACK), "everything is here")
    send(thief, topic("mh0001", Channel.ACK), "delete it all")
    send(thief, topic("mh0002", Channel.ACK), "delete it all")
    assert read(site, topic("mh0001", Channel.ACK)) == "everything is here"
    assert read(thief, topic("+", Channel.ACK)) is None


def test_every_channel_has_its_right() -> None:
    text = (DEPLOY / "mosquitto.acl").read_text()

    for channel in Channel:
        assert re.search(rf"^pattern (read|write) \S+/%u/{channel}$", text, re.M), channel


# -- a client ------------------------------------------------------------------------------------


def topic(site: str, channel: Channel) -> str:
    return f"pumpwatch/v1/default/{site}/{channel}"


@contextmanager
def client(port: int, user: str = "", tls: ssl.SSLContext | None = None) -> Iterator[mqtt.Client]:
    """A connected client. Raises `ConnectionRefusedError` for one the broker does not let in."""
    one = mqtt.Client(CallbackAPIVersion.VERSION2)
    answers: Queue[ReasonCode] = Queue()

    def on_answer(*arguments: object) -> None:
        """Connected or disconnected: client, data, flags, reason, properties."""
        answers.put(cast("ReasonCode", arguments[3]))

    one.on_connect = one.on_disconnect = on_answer
    if user:
        one.username_pw_set(user, f"{user}-secret")
    if tls is not None:
        one.tls_set_context(tls)
    one.connect("127.0.0.1", port)
    one.loop_start()
    try:
        answer = answers.get(timeout=WAIT_S)
        if answer.is_failure:
            raise ConnectionRefusedError(str(answer))
        yield one
    finally:
        one.disconnect()
        one.loop_stop()


def send(one: mqtt.Client, to: str, text: str) -> None:
    """Publish, retained so that it can be read afterwards; what is forbidden vanishes."""
    one.publish(to, text, qos=1, retain=True).wait_for_publish(WAIT_S)


def read(one: mqtt.Client, of: str) -> str | None:
    """The retained message of a topic; None when there is none to be read.

    The broker sends retained messages before it answers what was sent behind the subscription.
    """
    found: list[str] = []
    one.on_message = lambda _client, _data, message: found.append(message.payload.decode())
    one.subscribe(of, qos=1)
    one.publish("nobody/listens", qos=1).wait_for_publish(WAIT_S)
    one.unsubscribe(of)
    return found[0] if found else None


def accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def call(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
