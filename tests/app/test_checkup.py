"""What doctor finds in a broker, in clocks and on a disk, and what it says is to be done."""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pumpwatch.app.checkup import Check, Verdict, broker, clock, disk
from pumpwatch.app.commands import doctor
from pumpwatch.app.settings import BrokerSettings, Settings
from pumpwatch.domain.clock import DAY_MS, HOUR_MS, MINUTE_MS
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.messages import Lane, Stamp
from pumpwatch.domain.ports import InboxRow
from pumpwatch.domain.samples import Chunk
from pumpwatch.stores.inbox import SqliteInbox
from pumpwatch.stores.parquet import ParquetFiles
from pumpwatch.transports import broker as brokers
from pumpwatch.transports.broker import EmbeddedBroker
from pumpwatch.transports.probe import BrokerAnswer, probe

NOW_MS = 1_763_607_600_000
OK, WARNING, FAILED = Verdict.OK, Verdict.WARNING, Verdict.FAILED


def named(checks: Iterator[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


# -- broker ----------------------------------------------------------------------------------------


@pytest.mark.broker
def test_a_broker_as_it_ships_is_asked_for_its_limits_and_has_room(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path, programs=("mosquitto",)) as own:
        settings = BrokerSettings(port=own.port, embedded=True)
        found = named(broker.broker_checks(settings, tmp_path))
    assert {check.verdict for check in found.values()} == {OK}
    assert "accepts the hub (mosquitto version" in found["broker"].found
    assert found["broker limits"].found == "10000 messages in flight, packets up to 131072 bytes"
    assert "room and persistence" in found["broker file"].found


@pytest.mark.broker
def test_a_broker_with_stock_limits_is_found_out_by_its_own_word_and_by_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = [line for line in brokers.MOSQUITTO_CONF.splitlines() if not line.startswith("max_")]
    monkeypatch.setattr(brokers, "MOSQUITTO_CONF", "\n".join([*kept, ""]))
    with EmbeddedBroker(tmp_path, programs=("mosquitto",)) as own:
        file = tmp_path / "broker" / "mosquitto.conf"
        found = named(broker.broker_checks(BrokerSettings(port=own.port), tmp_path / "x", file))
    assert found["broker"].verdict == OK
    assert found["broker limits"].verdict == WARNING
    assert "20 messages in flight" in found["broker limits"].found
    assert "max_inflight_messages 10000" in found["broker limits"].remedy
    assert found["broker file"].verdict == WARNING
    assert "max_queued_messages 1000" in found["broker file"].found


@pytest.mark.parametrize(
    ("answer", "name", "verdict", "says"),
    [
        (BrokerAnswer("Not authorized"), "broker", FAILED, "refuses the hub: Not authorized"),
        (BrokerAnswer(limits=None), "broker limits", OK, "not to be seen"),
        (BrokerAnswer(limits={}), "broker limits", OK, "65535 messages in flight, packets of any"),
        (BrokerAnswer(limits={"MaximumPacketSize": 4_096}), "broker limits", WARNING, "4096 bytes"),
        (BrokerAnswer(limits={"RetainAvailable": 0}), "broker limits", FAILED, "retained messages"),
        (BrokerAnswer(limits={"MaximumQoS": 0}), "broker limits", FAILED, "QoS 1"),
        (BrokerAnswer(limits={}, dropped=7), "broker losses", WARNING, "gave up 7 messages"),
    ],
)
def test_a_brokers_answer_is_judged(
    answer: BrokerAnswer, name: str, verdict: Verdict, says: str
) -> None:
    check = named(broker.judged(answer, "b:1883"))[name]
    assert check.verdict == verdict
    assert says in check.found
    assert check.remedy or verdict == OK


def test_what_takes_connections_and_says_nothing_is_no_broker() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(OSError, match="MQTT"):
        probe("127.0.0.1", mute.getsockname()[1], timeout_s=0.1)


@pytest.mark.parametrize(
    ("host", "port", "text", "says"),
    [
        ("broker.town.example", 1883, "", "not on this machine"),
        ("127.0.0.1", 8883, "max_inflight_messages 20", "is of another broker"),
        ("127.0.0.1", 8883, "listener 8883\ninclude_dir {more}", "gives it room and persistence"),
    ],
)
def test_a_brokers_file_counts_only_where_it_is_that_brokers(
    tmp_path: Path, host: str, port: int, text: str, says: str
) -> None:
    more = tmp_path / "conf.d"
    more.mkdir()
    (more / "a.conf").write_text(
        "# room\nmax_inflight_messages 0\nmax_queued_messages  1000000\npersistence true\n"
    )
    file = tmp_path / "mosquitto.conf"
    file.write_text(text.format(more=more))
    check = broker.file_check(BrokerSettings(host=host, port=port), file)
    assert check.verdict == OK
    assert says in check.found


# -- heartbeat -------------------------------------------------------------------------------------


def test_doctor_says_who_hears_of_a_dead_hub_and_keeps_the_address(tmp_path: Path) -> None:
    url = "https://hc.example/ping/5f0c-secret"
    for health, says in (
        ({}, "nobody hears"),
        ({"heartbeat_url": url}, "to hc.example every 5 min"),
    ):
        settings = Settings.model_validate({"data_dir": tmp_path, "health": health})
        (check,) = [c for c in doctor.examine(settings) if c.name == "heartbeat"]
        assert says in check.found
        assert "secret" not in f"{check.found} {check.remedy}"


# -- clocks ----------------------------------------------------------------------------------------


def heard(tmp_path: Path, *late_s: float, clock: str = "ntp", age_ms: int = 0) -> Path:
    """An inbox with two messages of each station: one that was long on its way, and one so late [s]."""
    path = tmp_path / "inbox.db"
    inbox, at_ms = SqliteInbox(path), NOW_MS - age_ms
    for n, late in enumerate(late_s):
        key = SiteKey("default", f"mh-{n}")
        for seq, late_ms in ((1, HOUR_MS + round(1000 * late)), (2, round(1000 * late))):
            stamp = Stamp(key, "e", Lane.TELEMETRY, seq, at_ms - late_ms, "b", clock)
            topic = f"pumpwatch/v1/default/mh-{n}/telemetry"
            inbox.commit([InboxRow(stamp, topic, b"{}", at_ms)], [], at_ms)
    inbox.close()
    return path


def of_stations(path: Path) -> Check:
    return named(clock.clock_checks(NOW_MS / 1000, path, True))["clocks of stations"]


@pytest.mark.parametrize(
    ("late_s", "verdict", "says"),
    [
        ((0.1, 2.0, -4.0), OK, "3 stations agree"),
        ((0.1, 2.0, -30.0), WARNING, "of 3: default/mh-2 30 s ahead"),
        ((0.1, 2.0, 7_200.0), WARNING, "of 3: default/mh-2 120 min behind"),
        ((-3_600.0, -3_601.0, 0.0), FAILED, "most of 3 stations think it 60 min later"),
        ((3_600.0, 3_601.0, 0.0), FAILED, "most of 3 stations think it 60 min earlier"),
        ((), OK, "no message of the last hour"),
    ],
)
def test_the_clocks_of_stations_are_compared_with_the_hubs(
    tmp_path: Path, late_s: tuple[float, ...], verdict: Verdict, says: str
) -> None:
    check = of_stations(heard(tmp_path, *late_s))
    assert (check.verdict, says in check.found) == (verdict, True), check.found


def test_a_station_that_doubts_its_own_clock_is_named_and_old_messages_tell_nothing(
    tmp_path: Path,
) -> None:
    (tmp_path / "old").mkdir()
    assert "not synchronised" in of_stations(heard(tmp_path, 0.1, clock="unsynced")).found
    old = of_stations(heard(tmp_path / "old", -60.0, age_ms=2 * HOUR_MS))
    assert old.found.startswith("no message of the last hour")


@pytest.mark.parametrize(
    ("now_s", "kept_right", "verdict"),
    [
        (0.0, True, FAILED),
        (NOW_MS / 1000, True, OK),
        (NOW_MS / 1000, None, OK),
        (NOW_MS / 1000, False, WARNING),
    ],
)
def test_the_own_clock_is_doubted_when_it_is_old_or_nothing_keeps_it(
    tmp_path: Path, now_s: float, kept_right: bool | None, verdict: Verdict
) -> None:
    (check,) = clock.clock_checks(now_s, tmp_path / "none", kept_right)
    assert check.verdict == verdict
    assert bool(check.remedy) is (verdict != OK)


@pytest.mark.parametrize(("status", "kept_right"), [(0x40, False), (0x2001, True)])
def test_the_kernels_word_on_its_clock_is_read(
    monkeypatch: pytest.MonkeyPatch, status: int, kept_right: bool
) -> None:
    class Kernel:
        @staticmethod
        def adjtimex(timex: ctypes.Array[ctypes.c_char]) -> int:
            """``struct timex``: modes, then four longs, then the status."""
            assert struct.unpack_from("I", timex, 0) == (0,), "nothing may be changed"
            struct.pack_into("i", timex, struct.calcsize("Illll"), status)
            return 5

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Kernel)
    assert clock.is_kept_right() is kept_right


def test_a_system_without_that_call_says_nothing_of_its_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert clock.is_kept_right() is None


# -- disk ------------------------------------------------------------------------------------------

GB = 10**9


def test_growth_is_what_stations_have_stored_by_their_days(tmp_path: Path) -> None:
    files = ParquetFiles(tmp_path / "raw")
    level = np.random.default_rng(1).normal(1.0, 0.2, 4 * 24 * 60)
    start_ms = files.period(NOW_MS).start_ms
    t_ms = start_ms + MINUTE_MS * np.arange(len(level))
    for site in ("mh-01", "mh-02"):
        files.put(SiteKey("t", site), files.period(start_ms), Chunk(t_ms, {"level_m": level}))
    (tmp_path / "minutes" / "tenant=t" / "site=mh-01").mkdir(parents=True)
    (tmp_path / "minutes" / "tenant=t" / "site=mh-01" / "2025-11.parquet").write_bytes(bytes(8_000))
    stored = sum(f.stat().st_size for f in tmp_path.glob("*/*/*/*.parquet"))
    grows = disk.growth(tmp_path)
    assert grows is not None
    assert grows.sites == 2
    assert grows.day_bytes == pytest.approx(stored / 4, rel=1e-3)


def test_a_day_of_samples_makes_no_forecast(tmp_path: Path) -> None:
    files = ParquetFiles(tmp_path / "raw")
    period = files.period(NOW_MS)
    t_ms = period.start_ms + np.array([0, DAY_MS])
    files.put(SiteKey("t", "mh-01"), period, Chunk(t_ms, {"level_m": np.array([1.0, 2.0])}))
    assert disk.growth(tmp_path) is None
    assert disk.growth(tmp_path / "nothing") is None


@pytest.mark.parametrize(
    ("free_gb", "day_mb", "verdict", "says"),
    [
        (0.4, 10.0, FAILED, "telemetry is left with the agents"),
        (1.5, 100.0, WARNING, "fits for 10 days"),
        (1.5, 10.0, OK, "fits for 100 days"),
        (90.0, 10.0, OK, "more than ten years"),
        (5.0, None, WARNING, "no forecast"),
        (90.0, None, OK, "no forecast"),
    ],
)
def test_the_disk_is_judged_by_how_long_it_lasts_above_the_reserve(
    free_gb: float, day_mb: float | None, verdict: Verdict, says: str
) -> None:
    grows = None if day_mb is None else disk.Growth(10, day_mb * 1e5)
    check = disk.judged(round(free_gb * GB), 100 * GB, 500, grows)
    assert (check.verdict, says in check.found) == (verdict, True), check.found
    assert bool(check.remedy) is (verdict != OK)
