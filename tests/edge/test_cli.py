from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pumpwatch_edge import __version__, checks
from pumpwatch_edge.cli import main
from pumpwatch_edge.clock import clock_quality
from pumpwatch_edge.message import Channel, Clock
from pumpwatch_edge.schema import schema


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])

    assert caught.value.code == 0
    assert __version__ in capsys.readouterr().out


def test_the_schema_is_printed_or_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == {str(c): schema(c) for c in Channel}
    assert main(["schema", "--out", str(tmp_path / "new")]) == 0
    assert len(list((tmp_path / "new").iterdir())) == len(Channel)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["run"], 2, "source.dir: not set: give --replay DIR"),
        (["run", "--replay", "/no/such"], 1, "/no/such: no such folder"),
        (
            ["run", "--replay", ".", "--broker", "host:port"],
            2,
            "broker.port: 'port' cannot be used",
        ),
        (["run", "--config", "/no/edge.toml"], 2, "no such file"),
        (["check", "--replay", ".", "--site", "X"], 2, "'X' is not an id"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    arguments: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert says in line


def test_check_says_what_is_wrong_and_what_to_do(
    recording: Callable[..., Path], tmp_path: Path, dead_port: int,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = recording(3)
    code = main([
        "check", "--json", "--replay", str(folder), "--site", "mh0002",
        "--outbox", str(tmp_path / "no" / "outbox.db"), "--broker", f"127.0.0.1:{dead_port}",
    ])  # fmt: skip
    found = {f["name"]: f for f in json.loads(capsys.readouterr().out)}

    assert code == 1
    assert (found["settings"]["state"], found["source"]["state"]) == ("ok", "degraded")
    assert (found["outbox"]["state"], found["broker"]["state"]) == ("failed", "failed")
    assert "refused" in found["broker"]["detail"]
    assert all(f["remedy"] for f in found.values() if f["state"] != "ok")


@pytest.mark.broker
@pytest.mark.parametrize(("clock", "code"), [(Clock.NTP, 0), (Clock.RTC, 3), (Clock.UNSYNCED, 1)])
def test_check_ends_with_the_worst_it_found(
    recording: Callable[..., Path], tmp_path: Path, broker: Any, clock: Clock, code: int,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(checks, "clock_quality", lambda _now: clock)
    arguments = ["--replay", str(recording(3)), "--outbox", str(tmp_path / "o.db"),
                 "--broker", f"127.0.0.1:{broker.port}"]  # fmt: skip

    assert main(["check", *arguments]) == code
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_a_clock_that_was_never_set_is_recognised() -> None:
    assert clock_quality(0) is Clock.UNSYNCED
    assert clock_quality() in (Clock.NTP, Clock.RTC)


def start(*arguments: str) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PUMPWATCH_")}
    return subprocess.Popen(
        [sys.executable, "-m", "pumpwatch_edge.cli", "run", "--json", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


@pytest.mark.broker
def test_a_process_replays_a_recording_and_ends_when_the_hub_has_it(
    recording: Callable[..., Path], tmp_path: Path, broker: Any, hub: Any
) -> None:
    process = start(
        "--replay", str(recording(700)), "--speed", "0", "--exit-when-done",
        "--outbox", str(tmp_path / "o.db"), "--broker", f"127.0.0.1:{broker.port}",
    )  # fmt: skip
    out, err = process.communicate(timeout=60)

    assert process.returncode == 0, err
    assert json.loads(out)["finished"] is True
    assert len(hub.rows) == 700


@pytest.mark.broker
def test_a_killed_process_starts_again_with_nothing_lost(
    recording: Callable[..., Path], tmp_path: Path, broker: Any, hub: Any, until: Callable[..., Any]
) -> None:
    config = tmp_path / "edge.toml"
    config.write_text(
        f'[broker]\nport = {broker.port}\n[source]\ndir = "{recording(60_000)}"\nspeed = 0\n'
        f'[outbox]\nfile = "{tmp_path / "o.db"}"\n[sampling]\nbatch_samples = 20\n'
    )
    process = start("--config", str(config), "--exit-when-done")
    until(lambda: len(hub.messages) > 100, "100 messages")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    config.write_text(config.read_text().replace("batch_samples = 20", "batch_samples = 500"))
    process = start("--config", str(config), "--exit-when-done")
    out, err = process.communicate(timeout=60)

    assert process.returncode == 0, err
    assert json.loads(out)["outbox"] == 0
    assert len(dict(hub.rows)) == 60_000
    assert len({epoch for epoch, _, _ in hub.messages}) == 1
    seqs = sorted(seq for _, lane, seq in hub.messages if lane == "telemetry")
    assert seqs == list(range(1, seqs[-1] + 1))


def test_a_terminated_process_leaves_cleanly(
    recording: Callable[..., Path], tmp_path: Path, dead_port: int
) -> None:
    file = tmp_path / "o.db"
    process = start(
        "--replay", str(recording(30)), "--outbox", str(file), "--broker", f"127.0.0.1:{dead_port}",
        "--speed", "0",
    )  # fmt: skip
    assert process.stderr is not None
    line = process.stderr.readline()
    assert "cannot reach the broker" in line
    process.terminate()
    out, err = process.communicate(timeout=30)

    assert process.returncode == 0, err
    assert json.loads(out)["outbox"] == 1
    assert "Traceback" not in err
