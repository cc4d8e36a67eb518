"""What every test may use, and the rule that CI skips nothing."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# A busy machine is no reason to fail: no test of ours asserts an absolute time.
hypothesis.settings.register_profile(
    "house", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("house")

pytest_plugins = ["line_servers", "postgres"]

PROGRAMS = {
    "broker": "mosquitto",
    "browser": "chromium",
    "store": "victoria-metrics",
    "influx": "influxd",
    "postgres": "initdb",
}
PATH = os.pathsep.join(
    [os.environ.get("PATH", ""), *map(str, Path("/usr/lib/postgresql").glob("*/bin"))]
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for marker, program in PROGRAMS.items():
            if item.get_closest_marker(marker) and shutil.which(program, path=PATH) is None:
                item.add_marker(pytest.mark.skip(reason=f"{program} is not installed"))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:  # an xdist worker: the controller counts
        return
    skipped = len(reporter.stats.get("skipped", []))
    if skipped and os.environ.get("PUMPWATCH_FORBID_SKIPS") and exitstatus == 0:
        reporter.write_line(f"{skipped} skipped, and CI forbids that", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def data_dir() -> Path:
    """Small recorded fixtures; `tests/data/README.md` says where they come from."""
    return Path(__file__).parent / "data"


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port that refuses every connection: held, so that nobody else is given it meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own PUMPWATCH_ settings must not change what a test sees."""
    for name in [n for n in os.environ if n.startswith("PUMPWATCH_") and n not in KEPT]:
        monkeypatch.delenv(name)


KEPT = {"PUMPWATCH_FORBID_SKIPS", "PUMPWATCH_DEV_DATA"}
