"""What VictoriaMetrics needs beyond the port: it forgets when killed, changes and deletes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from line_servers import VictoriaServer, write_while_killed

from pumpwatch.domain.errors import StoreUnavailable
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.samples import Chunk
from pumpwatch.stores import series_victoria
from pumpwatch.stores.series_victoria import VictoriaSeries

pytestmark = pytest.mark.store

KEY = SiteKey("default", "mh0001")
OTHER = SiteKey("default", "mh0002")


def chunk(t_ms: list[int], **signals: list[float]) -> Chunk:
    columns = {name: np.array(values, np.float64) for name, values in signals.items()}
    return Chunk(np.array(t_ms, np.int64), columns)


@pytest.fixture
def series(victoria: Callable[[Path], VictoriaSeries], tmp_path: Path) -> Iterator[VictoriaSeries]:
    store = victoria(tmp_path)
    yield store
    store.close()


@pytest.fixture
def private(tmp_path: Path) -> Iterator[VictoriaServer]:
    """A server of the test's own, to be stopped and killed."""
    folder = tmp_path / "server"
    folder.mkdir()
    server = VictoriaServer(folder)
    server.start()
    yield server
    server.stop()


def test_a_server_set_as_it_should_be_has_no_problems(series: VictoriaSeries) -> None:
    series.write([(KEY, chunk([10], level_m=[1]))], 1)
    assert series.problems() == []


def test_a_server_without_deduplication_or_retention_is_named_with_the_remedy(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    server = VictoriaServer(folder, flags=["-retentionPeriod=3"])
    server.start()
    try:
        long_ago = b"station,tenant=a,site=b row=1i 10"
        server.http.post("/write?precision=ms", content=long_ago).raise_for_status()
        store = VictoriaSeries(server.url, path=tmp_path / "p.db")
        twice, short, ignored = store.problems()
        assert twice[1] == "start it with -dedup.minScrapeInterval=1ms"
        assert "forgets after 93 days" in short[0]
        assert short[1] == "start it with -retentionPeriod=10y"
        assert "ignored 1 values (small_timestamp)" in ignored[0]
        store.close()
    finally:
        server.stop()


def test_another_program_at_the_address_is_named(influx_server: Any, tmp_path: Path) -> None:
    store = VictoriaSeries(influx_server.url, path=tmp_path / "p.db")
    ((found, remedy),) = store.problems()
    assert "no single-node VictoriaMetrics" in found
    assert "series.url" in remedy
    store.close()


@pytest.mark.parametrize(
    ("flag", "days"), [("1", 31), ("100y", 36_500), ("3d", 3), ("2w", 14), ("36h", 1.5)]
)
def test_a_retention_period_is_read_as_the_flag_means_it(flag: str, days: float) -> None:
    assert series_victoria._days(flag) == days


def test_a_reader_sees_what_is_hidden_and_leaves_the_file_to_its_writer(
    series: VictoriaSeries, victoria_server: VictoriaServer, tmp_path: Path
) -> None:
    series.write([(KEY, chunk([10, 20], level_m=[1, 2]))], 5)
    series.apply_retention(20)
    reader = VictoriaSeries(victoria_server.url, path=tmp_path / "series.db", reader=True)
    assert reader.read_raw(KEY, 0, 99).t_ms.tolist() == [20]
    assert reader.position() == 5
    assert reader._notes.execute("SELECT count(*) FROM unsure").fetchone() == (0,)
    reader.close()
    assert series._notes.execute("SELECT count(*) FROM unsure").fetchone() == (1,)


def test_no_question_is_asked_twice_for_its_answer_may_be_old(
    series: VictoriaSeries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that knows the question answers for ten seconds without the series that came meanwhile."""
    asked: list[str] = []
    request = series._request

    def noted(method: str, path: str, **more: Any) -> Any:
        asked.append(more.get("params", {}).get("match[]", ""))
        return request(method, path, **more)

    monkeypatch.setattr(series, "_request", noted)
    for _ in range(2):
        assert len(series.read_raw(KEY, 0, 2**62)) == 0
    exports = [match for match in asked if match]
    assert len(exports) == len(set(exports)) >= 2


@pytest.mark.parametrize("values", [(1, 9, 3, 2), (4, 3, 2, 1), (1, 0, 1, 0)])
def test_a_row_said_again_differently_is_what_was_said_last(
    series: VictoriaSeries, values: tuple[float, ...]
) -> None:
    for n, value in enumerate(values):
        row = chunk([10], level_m=[value], h2s_ppm=[-value])
        receipt = series.write([(KEY, row)], n)
        assert (receipt.stored, receipt.duplicates) == ((1, 0) if n == 0 else (0, 1))
    found = series.read_raw(KEY, 0, 99, ["level_m", "h2s_ppm"])
    assert found.signals["level_m"].tolist() == [values[-1]]
    assert found.signals["h2s_ppm"].tolist() == [-values[-1]]
    assert series.latest([KEY]) == {KEY: (10, {"level_m": values[-1]})}
    assert series.count(KEY) == 1


def test_a_value_with_more_digits_than_the_server_keeps_is_no_correction(
    series: VictoriaSeries,
) -> None:
    row = chunk([10], level_m=[0.12345678901234567], battery_v=[0.1 + 0.2])
    series.write([(KEY, row)], 1)
    series.write([(KEY, row)], 2)
    assert series.read_raw(KEY, 0, 99).signals["level_m"] == pytest.approx([0.12345678901234567])
    assert {labels.get("rev") for labels, _ in series._export('{site="mh0001"}', 0, 99)} == {None}


def test_what_retention_hides_does_not_come_back(
    series: VictoriaSeries, victoria_server: VictoriaServer, tmp_path: Path
) -> None:
    series.write(
        [(KEY, chunk([10, 20, 30], level_m=[1, 2, 3])), (OTHER, chunk([30], level_m=[1]))], 1
    )
    assert series.apply_retention(20) == 1
    assert series.apply_retention(20) == 0
    again = series.write([(KEY, chunk([10, 20, 40], level_m=[1, 2, 4]))], 2)
    assert (again.stored, again.duplicates, again.rejected) == (1, 1, 1)
    series.close()
    reopened = VictoriaSeries(victoria_server.url, path=tmp_path / "series.db")
    assert reopened.read_raw(KEY, 0, 99).t_ms.tolist() == [20, 30, 40]
    assert reopened.delete(KEY, 20, 30) == 1
    assert reopened.read_raw(KEY, 0, 99).t_ms.tolist() == [30, 40]
    reopened.close()


class Crash(Exception):
    pass


@pytest.mark.parametrize(
    "at", ["/api/v1/admin/tsdb/delete_series", "/api/v1/import", "/snapshot/create"]
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_deletion_that_was_cut_short_is_finished_at_the_next_use(
    series: VictoriaSeries,
    victoria_server: VictoriaServer,
    tmp_path: Path,
    at: str,
    when: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = chunk([10, 20, 30], level_m=[1, 2, 3], h2s_ppm=[4, 5, 6])
    series.write([(KEY, row), (OTHER, row)], 7)
    series.secure()
    monkeypatch.setattr(series, "secure", lambda: None)
    asked = series._asked

    def cut(method: str, path: str, **more: Any) -> Any:
        if path == at and when == "before":
            raise Crash
        answer = asked(method, path, **more)
        if path == at:
            raise Crash
        return answer

    monkeypatch.setattr(series, "_asked", cut)
    with pytest.raises(Crash):
        series.delete(KEY, 15, 25)
    series.close()
    reopened = VictoriaSeries(victoria_server.url, path=tmp_path / "series.db")
    assert reopened.position() == 7
    for key, times, gas in ((KEY, [10, 30], [4, 6]), (OTHER, [10, 20, 30], [4, 5, 6])):
        found = reopened.read_raw(key, 0, 99, ["level_m", "h2s_ppm"])
        assert found.t_ms.tolist() == times
        assert found.signals["h2s_ppm"].tolist() == gas
    reopened.close()


def test_a_server_that_is_gone_is_waited_for(private: VictoriaServer, tmp_path: Path) -> None:
    store = VictoriaSeries(private.url, path=tmp_path / "p.db")
    write_through_a_gap(store, private.stop, private.start)
    store.close()


def test_rows_a_killed_server_forgot_are_sent_again(
    private: VictoriaServer, tmp_path: Path
) -> None:
    store = VictoriaSeries(private.url, path=tmp_path / "p.db")
    write_through_a_gap(store, private.kill, private.start)
    store.close()


def test_nothing_taken_is_lost_when_the_server_is_killed_during_writes(
    private: VictoriaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series_victoria, "SECURE_LINES", 10_000)
    store = VictoriaSeries(private.url, path=tmp_path / "p.db")
    told = write_while_killed(private, store)
    found = store.read_raw(KEY, 0, 10**9)
    assert found.signals["level_m"].tolist() == [t / 8 for t in range(told["rows"])]
    assert told["stored"] + told["duplicates"] == told["rows"]
    store.close()


def test_rows_a_killed_server_forgot_are_sent_again_by_the_next_hub(
    private: VictoriaServer, tmp_path: Path
) -> None:
    store = VictoriaSeries(private.url, path=tmp_path / "p.db")
    store.write([(KEY, chunk([10, 20], level_m=[1, 2]))], 5)
    store.close()
    private.kill()
    private.start()
    reopened = VictoriaSeries(private.url, path=tmp_path / "p.db")
    assert reopened.position() == 5
    assert reopened.count(KEY) == 2
    reopened.close()


def test_what_is_on_the_servers_disk_is_let_go_of(
    private: VictoriaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series_victoria, "SECURE_LINES", 10)
    store = VictoriaSeries(private.url, path=tmp_path / "p.db")
    for n in range(0, 30, 3):
        store.write([(KEY, chunk([n, n + 1, n + 2], level_m=[1, 2, 3]))], n)
    unsure = store._notes.execute("SELECT count(*) FROM unsure").fetchone()
    assert unsure == (2,)
    store._notes.execute("DELETE FROM unsure")
    private.kill()
    private.start()
    assert store.count(KEY) >= 24
    store.close()


def test_what_was_sent_to_an_earlier_life_of_the_server_is_not_let_go_of(
    private: VictoriaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = VictoriaSeries(private.url, path=tmp_path / "p.db")
    store.write([(KEY, chunk([10, 20], level_m=[1, 2]))], 5)
    monkeypatch.setattr(store, "_check", lambda **_: None)
    store._life = "another"
    with pytest.raises(StoreUnavailable, match="started anew"):
        store.secure()
    assert store._notes.execute("SELECT count(*) FROM unsure").fetchone() == (1,)
    store.close()


def test_pages_read_while_the_recorder_writes(series: VictoriaSeries) -> None:
    wrong: list[object] = []
    done = threading.Event()

    def watch() -> None:
        seen = 0
        while not done.is_set():
            try:
                found = series.read_raw(KEY, 0, 10**6)
                if len(found) < seen:
                    wrong.append((seen, len(found)))
                seen = len(found)
                series.latest([KEY, OTHER])
            except Exception as error:
                wrong.append(error)

    readers = [threading.Thread(target=watch) for _ in range(2)]
    for reader in readers:
        reader.start()
    for n in range(50):
        series.write([(KEY, chunk([n], level_m=[float(n)]))], n)
    done.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert series.count(KEY) == 50


def write_through_a_gap(
    store: VictoriaSeries, end: Callable[[], None], start: Callable[[], None]
) -> None:
    stored, failed, n = 0, 0, 0
    while n < 60:
        if n == 20 and not failed:
            end()
        try:
            stored += store.write([(KEY, chunk([n], level_m=[float(n)]))], n).stored
            n += 1
        except StoreUnavailable:
            failed += 1
            if failed == 3:
                start()
    assert failed >= 3
    found = store.read_raw(KEY, 0, 1_000)
    assert found.signals["level_m"].tolist() == list(range(60))
    assert stored == 60
    assert store.position() == 59
