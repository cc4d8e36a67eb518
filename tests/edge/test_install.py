from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest

EDGE = Path(__file__).parents[2] / "edge"


def call(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.journey
@pytest.mark.slow
def test_the_wheel_runs_alone_with_paho_only(tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    programs = tmp_path / "venv" / "bin"
    built = call(
        sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", "wheels", str(EDGE), cwd=tmp_path
    )
    if built.returncode:
        built = call(
            str(programs / "pip"), "wheel", "--no-deps", "-w", "wheels", str(EDGE), cwd=tmp_path
        )
    fetched = call(
        str(programs / "pip"), "download", "-d", "wheels", "paho-mqtt>=2.2,<3", cwd=tmp_path
    )
    if built.returncode or fetched.returncode:
        pytest.skip(f"pip cannot fetch: {(built.stderr + fetched.stderr).strip()[-200:]}")

    installed = call(
        str(programs / "pip"), "install", "--no-index", "--find-links", "wheels", "pumpwatch-edge",
        cwd=tmp_path,
    )  # fmt: skip
    assert installed.returncode == 0, installed.stderr
    listed = json.loads(
        call(str(programs / "pip"), "list", "--format", "json", cwd=tmp_path).stdout
    )
    assert {p["name"] for p in listed} <= {"pip", "setuptools", "paho-mqtt", "pumpwatch-edge"}

    version = call(str(programs / "pumpwatch-edge"), "--version", cwd=tmp_path)
    assert (version.returncode, version.stdout) == (0, "pumpwatch-edge 0.1.0\n"), version.stderr
    shown = call(str(programs / "pumpwatch-edge"), "schema", cwd=tmp_path)
    assert "telemetry" in json.loads(shown.stdout)
    refused = call(str(programs / "pumpwatch-edge"), "run", cwd=tmp_path)
    assert (refused.returncode, "Traceback" in refused.stderr) == (2, False)
