"""What InfluxDB adds to the port: every answer of its write protocol, partial writes, outages, kills."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from influx_v2_door import ORG, TOKEN, StrictV2
from line_servers import InfluxServer, write_while_killed

from pumpwatch.domain.errors import PumpwatchError, StoreUnavailable
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.samples import Chunk
from pumpwatch.stores import series_influx, series_lines
from pumpwatch.stores.series_influx import InfluxSeries

pytestmark = pytest.mark.influx

KEY = SiteKey("default", "mh0001")
OTHER = SiteKey("default", "mh0002")
HOUR = 3_600_000


def chunk(t_ms: list[int], **signals: list[float]) -> Chunk:
    columns = {name: np.array(values, np.float64) for name, values in signals.items()}
    return Chunk(np.array(t_ms, np.int64), columns)


@pytest.fixture
def door(v2_door: StrictV2) -> Iterator[StrictV2]:
    v2_door.writes.clear()
    v2_door.answers.clear()
    yield v2_door
    v2_door.faults.clear()
    v2_door.bad_lines, v2_door.max_bytes = None, 10_000_000


@pytest.fixture
def series(
    door: StrictV2, influx_v2: Callable[[Path], InfluxSeries], tmp_path: Path
) -> Iterator[InfluxSeries]:
    store = influx_v2(tmp_path)
    yield store
    store.close()


def test_a_write_is_one_compressed_string_with_everything_the_server_must_know(
    series: InfluxSeries, door: StrictV2
) -> None:
    series.write(
        [(KEY, chunk([10, 20], level_m=[0.5, np.nan])), (OTHER, chunk([10], level_m=[1]))], 1
    )
    ((query, headers, lines),) = door.writes
    assert query == {"org": ORG, "bucket": series._database, "precision": "ms"}
    assert headers["Authorization"] == f"Token {TOKEN}"
    assert headers["Content-Encoding"] == "gzip"
    assert lines == [
        "station,tenant=default,site=mh0001 level_m=0.5,row=1i 10",
        "station,tenant=default,site=mh0001 row=1i 20",
        "station,tenant=default,site=mh0002 level_m=1.0,row=1i 10",
    ]


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_what_may_pass_is_tried_again_and_nothing_is_lost(
    series: InfluxSeries, door: StrictV2, status: int
) -> None:
    door.fail(status, "not now", Retry_After="17")
    batch = [(KEY, chunk([10, 20], level_m=[1, 2]))]
    with pytest.raises(StoreUnavailable, match=f"{status}.*not now") as told:
        series.write(batch, 5)
    assert told.value.remedy
    assert ("17 s" in told.value.remedy) == (status in (429, 500, 503))
    assert series.position() == 0
    receipt = series.write(batch, 5)
    assert (receipt.stored, receipt.duplicates) == (2, 0)
    assert series.position() == 5


def test_a_wrong_token_bucket_or_organisation_is_named(
    door: StrictV2, influx_server: InfluxServer, tmp_path: Path
) -> None:
    bucket = influx_server.new_database()
    door.buckets.add(bucket)

    def refusal(name: str, org: str, token: str) -> str:
        store = InfluxSeries(door.url, name, path=tmp_path / "p.db", org=org, token=token)
        store._newest[KEY] = 0
        with pytest.raises(StoreUnavailable) as told:
            store.write([(KEY, chunk([10], level_m=[1]))], 1)
        store.close()
        return str(told.value)

    assert "401" in (said := refusal(bucket, ORG, "stolen"))
    assert "check the token" in said
    assert 'bucket "nowhere" not found' in (said := refusal("nowhere", ORG, TOKEN))
    assert "create the database or bucket" in said
    assert 'organization name "else" not found' in refusal(bucket, "else", TOKEN)


@pytest.mark.parametrize("status", [400, 422])
def test_a_refused_request_is_halved_until_only_the_bad_row_is_left(
    series: InfluxSeries, door: StrictV2, status: int
) -> None:
    door.bad_lines = re.compile("level_m=7.0")
    door.fail(status, "cannot parse")  # and the first request as a whole
    t_ms = list(range(20))
    receipt = series.write([(KEY, chunk(t_ms, level_m=[float(t) for t in t_ms]))], 3)
    assert (receipt.stored, receipt.duplicates, receipt.rejected) == (19, 0, 1)
    assert receipt.by_site[KEY].rejected == 1
    assert series.position() == 3
    assert series.read_raw(KEY, 0, 99).t_ms.tolist() == [t for t in t_ms if t != 7]


def test_a_refused_line_is_set_aside_alone_with_what_the_server_said(
    series: InfluxSeries, door: StrictV2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series_lines, "MAX_REFUSED", 2)
    door.bad_lines = re.compile("level_m=[789].0")
    series.write([(KEY, chunk(list(range(20)), level_m=list(map(float, range(20)))))], 3)
    series.close()
    reopened = InfluxSeries(door.url, series._database, path=tmp_path / "series.db", org=ORG,
                            token=TOKEN)  # fmt: skip
    head = "station,tenant=default,site=mh0001 level_m="
    lines = [line for line, _ in reopened.refused()]
    assert lines == [f"{head}9.0,row=1i 9", f"{head}8.0,row=1i 8"], "the newest are kept"
    assert all("partial write: dropped=1" in answer for _, answer in reopened.refused())
    ((problem, remedy),) = reopened.problems()
    assert "refused 2 lines" in problem
    assert remedy == "see them with: pumpwatch series show"
    reopened.close()


def test_a_database_that_keeps_long_enough_has_no_problems(series: InfluxSeries) -> None:
    assert series.problems() == []


def test_another_generation_and_a_short_retention_are_named_with_the_remedy(
    influx_server: InfluxServer, tmp_path: Path
) -> None:
    database = influx_server.new_database()
    influx_server.ask(f'ALTER RETENTION POLICY autogen ON "{database}" DURATION 90d')
    store = InfluxSeries(influx_server.url, database, path=tmp_path / "p.db", mode="v1")
    assert store.problems() == [
        (
            f"InfluxDB {influx_server.url} {database} forgets after 90 days",
            "give the database or bucket a longer retention there",
        )
    ]
    store.close()
    wrong = InfluxSeries(influx_server.url, database, path=tmp_path / "p.db", mode="v2")
    ((problem, remedy),) = wrong.problems()
    assert "is version 1.6.7" in problem
    assert remedy == "set series.version to 1"
    wrong.close()


def test_a_row_with_a_refused_value_beside_counts_as_rejected(
    series: InfluxSeries, door: StrictV2
) -> None:
    door.bad_lines = re.compile("signal=h2s_ppm")
    receipt = series.write([(KEY, chunk([10, 20], level_m=[1, 2], h2s_ppm=[3, np.nan]))], 1)
    assert (receipt.stored, receipt.rejected) == (1, 1)


def test_a_request_that_is_too_large_is_sent_in_smaller_parts(
    series: InfluxSeries, door: StrictV2
) -> None:
    door.max_bytes = 1_000
    t_ms = list(range(100))
    receipt = series.write([(KEY, chunk(t_ms, level_m=[float(t) for t in t_ms]))], 1)
    assert (receipt.stored, receipt.rejected) == (100, 0)
    assert 413 in door.answers
    assert series.count(KEY) == 100


def test_rows_whose_answer_was_lost_are_counted_as_there(
    series: InfluxSeries, door: StrictV2, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series_lines, "LINES_PER_POST", 2)
    batch = [(KEY, chunk([10, 20, 30], level_m=[1, 2, 3]))]
    door.faults.append(None)  # the first part is taken
    door.fail(503)
    with pytest.raises(StoreUnavailable):
        series.write(batch, 1)
    receipt = series.write(batch, 1)
    assert (receipt.stored, receipt.duplicates) == (1, 2)
    assert series.count(KEY) == 3


def test_live_rows_ask_the_server_nothing(series: InfluxSeries, door: StrictV2) -> None:
    series.write([(KEY, chunk([10], level_m=[1]))], 1)
    door.answers.clear()
    for t_ms in range(20, 50):
        assert series.write([(KEY, chunk([t_ms], level_m=[1]))], t_ms).stored == 1
    assert door.answers == [204] * 30


def test_a_field_that_has_another_type_is_refused_for_its_row_only(
    influx_server: InfluxServer, influx_v1: Callable[[Path], InfluxSeries], tmp_path: Path
) -> None:
    store = influx_v1(tmp_path)
    influx_server.http.post(
        "/write", params={"db": store._database}, content=b"station,site=x pump2_run=1i 1"
    ).raise_for_status()
    receipt = store.write(
        [(KEY, chunk([10, 20], level_m=[1, 2])), (OTHER, chunk([10], pump2_run=[1]))], 1
    )
    assert (receipt.stored, receipt.rejected) == (2, 1)
    assert store.count(KEY) == 2
    store.close()


def test_a_database_that_is_missing_is_named(influx_server: InfluxServer, tmp_path: Path) -> None:
    store = InfluxSeries(influx_server.url, "nowhere", path=tmp_path / "p.db", mode="v1")
    with pytest.raises(StoreUnavailable, match="database not found: nowhere"):
        store.write([(KEY, chunk([10], level_m=[1]))], 1)
    store.close()


def test_influxdb_3_says_that_it_cannot_delete(influx_server: InfluxServer, tmp_path: Path) -> None:
    store = InfluxSeries(
        influx_server.url, influx_server.new_database(), path=tmp_path / "p.db", mode="v3"
    )
    with pytest.raises(PumpwatchError, match="retention period"):
        store.apply_retention(HOUR)
    store.close()


def test_long_answers_are_read_in_parts(
    influx_v1: Callable[[Path], InfluxSeries], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series_influx, "ROWS_PER_QUERY", 7)
    store = influx_v1(tmp_path)
    t_ms = list(range(100))
    store.write([(KEY, chunk(t_ms, level_m=[float(t) for t in t_ms]))], 1)
    found = store.read_raw(KEY, 0, 100)
    assert found.t_ms.tolist() == t_ms
    assert found.signals["level_m"].tolist() == t_ms
    store.close()


def test_a_server_that_limits_its_answers_hides_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    server = InfluxServer(folder, max_row_limit=1_000)
    server.start()
    try:
        store = InfluxSeries(server.url, server.new_database(), path=tmp_path / "p.db", mode="v1")
        t_ms = list(range(25_000))
        store.write([(KEY, chunk(t_ms, level_m=[float(t) for t in t_ms]))], 1)
        assert store.read_raw(KEY, 0, 99_999).t_ms.tolist() == t_ms
        assert store.write([(KEY, chunk(t_ms, level_m=[1.0] * 25_000))], 2).duplicates == 25_000
        store.close()
    finally:
        server.stop()


def test_the_position_is_kept_for_each_target(influx_server: InfluxServer, tmp_path: Path) -> None:
    def opened(database: str) -> InfluxSeries:
        return InfluxSeries(influx_server.url, database, path=tmp_path / "p.db", mode="v1")

    one, two = influx_server.new_database(), influx_server.new_database()
    store = opened(one)
    store.write([(KEY, chunk([10], level_m=[1]))], 42)
    store.close()
    for database, position in ((two, 0), (one, 42)):
        store = opened(database)
        assert store.position() == position
        store.close()


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_everything_is_there_after_the_server_was_gone(how: str, tmp_path: Path) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    server = InfluxServer(folder)
    server.start()
    try:
        store = InfluxSeries(
            server.url, server.new_database(), path=tmp_path / "p.db", mode="v1", timeout_s=5
        )
        stored, failed, n = 0, 0, 0
        while n < 60:
            if n == 20 and not failed:
                getattr(server, how)()
            try:
                stored += store.write([(KEY, chunk([n], level_m=[float(n)]))], n).stored
                n += 1
            except StoreUnavailable:
                failed += 1
                if failed == 3:
                    server.start()
        assert failed >= 3
        found = store.read_raw(KEY, 0, 1_000)
        assert found.signals["level_m"].tolist() == list(range(60))
        assert stored == 60
        store.close()
    finally:
        server.stop()


def test_nothing_taken_is_lost_when_the_server_is_killed_during_writes(tmp_path: Path) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    server = InfluxServer(folder)
    server.start()
    try:
        path = tmp_path / "p.db"
        store = InfluxSeries(server.url, server.new_database(), path=path, mode="v1", timeout_s=5)
        told = write_while_killed(server, store)
        found = store.read_raw(KEY, 0, 10**9)
        assert found.signals["level_m"].tolist() == [t / 8 for t in range(told["rows"])]
        assert told["stored"] + told["duplicates"] == told["rows"]
        store.close()
    finally:
        server.stop()
