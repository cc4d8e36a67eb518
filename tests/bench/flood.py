"""Publish ready-made telemetry as fast as the broker takes it, at QoS 1, over raw sockets.

`python flood.py PORT MESSAGES [SITES]` prints the moment (time.time) at which it began.
"""

from __future__ import annotations

import select
import socket
import sys
import time

CONNECTIONS = 16
WINDOW = 200
SAMPLES = 6


def packet(kind: int, body: bytes) -> bytes:
    length, head = len(body), bytearray([kind])
    while True:
        length, digit = divmod(length, 128)
        head.append(digit | 0x80 if length else digit)
        if not length:
            return bytes(head) + body


def text(value: str) -> bytes:
    return len(value).to_bytes(2, "big") + value.encode()


def telemetry(site: int, seq: int, t_ms: int) -> bytes:
    times = ",".join(str(t_ms + 10_000 * i) for i in range(SAMPLES))
    level = ",".join(f"{0.8 + 0.001 * ((seq + i) % 500):.3f}" for i in range(SAMPLES))
    current = ",".join("6.2" for _ in range(SAMPLES))
    state = ",".join("1" for _ in range(SAMPLES))
    return (
        f'{{"schema":1,"epoch":"e{site:04d}","seq":{seq},"low":1,"sent":{t_ms + 60_000},"boot":"b1",'
        f'"clock":"ntp","t":[{times}],"signals":{{"level_m":[{level}],"pump1_run":[{state}],'
        f'"pump2_run":[{state}],"pump1_current_a":[{current}]}}}}'
    ).encode()


def stream(connection: int, messages: int, sites: int, t_ms: int) -> list[bytes]:
    """The packets of one connection, which speaks for its share of the sites."""
    own = range(connection, sites, CONNECTIONS)
    packets = []
    for n in range(messages):
        site, seq = own[n % len(own)], n // len(own) + 1
        body = text(f"pumpwatch/v1/bench/s{site:04d}/telemetry")
        body += (n % 65_535 + 1).to_bytes(2, "big")
        packets.append(packet(0x32, body + telemetry(site, seq, t_ms + seq * 60_000)))
    return packets


def connect(port: int, name: str) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(packet(0x10, text("MQTT") + b"\x04\x02\x00\x3c" + text(name)))
    assert sock.recv(4)[3] == 0, "the broker refused the flood"
    return sock


def flood(port: int, messages: int, sites: int) -> float:
    """Publish and wait for every PUBACK; returns when it began."""
    t_ms = (int(time.time()) - 86_400 * 30) * 1000
    share = messages // CONNECTIONS
    lanes = []
    for i in range(CONNECTIONS):
        packets = stream(i, share + (messages % CONNECTIONS if i == 0 else 0), sites, t_ms)
        lanes.append([connect(port, f"flood-{i}"), packets, 0, 0])
    poll = select.poll()
    by_fd = {}
    for lane in lanes:
        by_fd[lane[0].fileno()] = lane
        poll.register(lane[0], select.POLLIN)
    began = time.time()
    for lane in lanes:
        lane[0].sendall(b"".join(lane[1][:WINDOW]))
        lane[2] = min(WINDOW, len(lane[1]))
    left = 4 * messages
    while left:
        for fd, _ in poll.poll():
            lane = by_fd[fd]
            sock, packets, sent, acked_bytes = lane
            got = len(sock.recv(65_536))
            assert got, "the broker hung up"
            left -= got
            lane[3] = acked_bytes + got
            room = lane[3] // 4 + WINDOW - sent
            if room >= WINDOW // 2 and sent < len(packets):
                sock.sendall(b"".join(packets[sent : sent + room]))
                lane[2] = min(sent + room, len(packets))
    for lane in lanes:
        lane[0].sendall(b"\xe0\x00")
        lane[0].close()
    return began


if __name__ == "__main__":
    port, messages, sites = (int(a) for a in [*sys.argv[1:], "232"][:3])
    print(flood(port, messages, sites), flush=True)
