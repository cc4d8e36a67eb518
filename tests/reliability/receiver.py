"""Where the webhook leads: writes down what it accepts before it answers, and fails on command."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pumpwatch_edge.clock import wall_ms

from .crash import obey

HANG_S = 5.0


class _State:
    mode, victim = "ok", 0


def run(folder: str, port: int) -> None:
    """Serve until killed. Modes: ok, 500, 429, hang, die (accept, then end without an answer) and
    kill (accept, then kill the process ``victim``, which waits for the answer)."""
    where, state = Path(folder), _State()
    log = os.open(where / "accepted", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            mode = state.mode
            if mode == "hang":
                time.sleep(HANG_S)
                return
            if mode in ("500", "429"):
                self.send_response(int(mode))
                if mode == "429":
                    self.send_header("retry-after", "2")
                self.end_headers()
                return
            what = json.loads(body)
            alert = what["data"]["alert"]["id"]
            line = f"{wall_ms()} {self.headers['webhook-id']} {what['type']} {alert}\n"
            os.write(log, line.encode())
            if mode == "die":
                os._exit(1)
            if mode == "kill":
                state.mode = "ok"
                os.kill(state.victim, signal.SIGKILL)
                return
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = True

    def change(mode: str, victim: int = 0) -> None:
        state.victim, state.mode = victim, mode

    server = Server(("127.0.0.1", port), Handler)
    obey(where / "receiver.sock", {"mode": change})
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(0.05)
