"""The systemd unit: its settings are ours, and it may do no more than it needs."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from pumpwatch.app.output import Exit
from pumpwatch.app.settings import load_settings

UNIT = Path(__file__).parents[2] / "deploy" / "pumpwatch.service"
LINES = re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.M)
SERVICE = dict(LINES)


def test_its_settings_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for assignment in shlex.split(SERVICE["Environment"]):
        monkeypatch.setenv(*assignment.split("=", 1))

    assert load_settings().data_dir == Path("/var/lib") / SERVICE["StateDirectory"]


def test_it_comes_back_unless_a_person_must_correct_a_setting() -> None:
    assert SERVICE["Restart"] == "always"
    assert SERVICE["RestartPreventExitStatus"] == str(Exit.USAGE.value)


def test_it_may_do_no_more_than_it_needs() -> None:
    assert SERVICE["User"] not in ("", "root")
    assert SERVICE["CapabilityBoundingSet"] == ""
    assert SERVICE["ProtectSystem"] == "strict"
    assert SERVICE["RestrictAddressFamilies"].split() == ["AF_UNIX", "AF_INET", "AF_INET6"]
    for name in ("NoNewPrivileges", "ProtectHome", "PrivateTmp", "PrivateDevices"):
        assert SERVICE[name] == "yes", name


def test_no_line_says_what_another_said() -> None:
    names = [name for name, _ in LINES]

    assert sorted({name for name in names if names.count(name) > 1}) == []


if shutil.which("systemd-analyze"):

    def test_systemd_understands_every_line(tmp_path: Path) -> None:
        """All it may complain of is that the program is not installed at its place here."""
        for text, sound in ((UNIT.read_text(), True), (f"{UNIT.read_text()}Wanted=x\n", False)):
            file = tmp_path / UNIT.name
            file.write_text(text)
            done = subprocess.run(
                ["systemd-analyze", "verify", str(file)], capture_output=True, text=True
            )
            said = [line for line in done.stderr.splitlines() if UNIT.name in line]
            assert all("is not executable" in line for line in said) is sound, done.stderr
