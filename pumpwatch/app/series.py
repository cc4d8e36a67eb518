"""Which store holds the samples of a data directory, and that it is not exchanged unawares."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from pumpwatch.app.datadir import DataDir, write_whole
from pumpwatch.app.settings import SeriesSettings
from pumpwatch.domain.errors import Conflict, InvalidInput
from pumpwatch.domain.ports import TimeSeriesStore
from pumpwatch.stores.series_sealed import SealedSeries

if TYPE_CHECKING:
    from pumpwatch.stores.series_influx import InfluxSeries
    from pumpwatch.stores.series_victoria import VictoriaSeries

OWN_FILES = "its own files"
"""Where samples are when no server is named."""


def open_series(directory: DataDir, series: SeriesSettings | None = None) -> TimeSeriesStore:
    """Open the store that ``series`` names; without one, and for demo data and recordings, the
    directory's own. A server is not asked anything yet, so it may be away.

    Raises `Conflict` when the samples of this directory are somewhere else.
    """
    if series is None or directory.purpose() in ("demo", "recording"):
        return own_series(directory)
    check_home(directory, series)
    set_home(directory, series)
    if series.engine == "sqlite":
        return own_series(directory)
    return open_server(series, directory.series_sink)


def reading_series(directory: DataDir, series: SeriesSettings) -> TimeSeriesStore:
    """The store for somebody who only reads, while a hub may be writing. Raises `Conflict`."""
    if directory.purpose() in ("demo", "recording"):
        return own_series(directory)
    check_home(directory, series)
    if series.engine == "sqlite":
        return own_series(directory)
    return open_server(series, directory.series_sink, reader=True)


def own_series(directory: DataDir) -> SealedSeries:
    """The store in the directory itself."""
    return SealedSeries(directory.series, directory.parquet / "raw")


def open_server(
    series: SeriesSettings, notes: Path, *, reader: bool = False
) -> InfluxSeries | VictoriaSeries:
    """The store in a server; ``notes`` is the small file that keeps what follows it. A ``reader``
    never writes there."""
    timeout_s, tls = series.timeout_s, _tls(series)
    user = series.username
    password = series.password.get_secret_value() if series.password else ""
    if series.engine == "victoria":
        from pumpwatch.stores.series_victoria import VictoriaSeries

        return VictoriaSeries(
            series.url, path=notes, user=user, password=password, tls=tls, timeout_s=timeout_s,
            reader=reader,
        )  # fmt: skip
    from pumpwatch.stores.series_influx import MODES, InfluxSeries

    return InfluxSeries(
        series.url, series.database, path=notes, mode=MODES[series.version], org=series.org,
        token=series.token.get_secret_value() if series.token else "",
        user=user, password=password, tls=tls, ca_file=series.ca_file, timeout_s=timeout_s,
        reader=reader,
    )  # fmt: skip


def described(series: SeriesSettings) -> str:
    """A store in words that stay the same: what it is and where, no secrets."""
    if series.engine == "sqlite":
        return OWN_FILES
    url = series.url.rstrip("/")
    if series.engine == "victoria":
        return f"VictoriaMetrics {url}"
    return f"InfluxDB {url} {series.database}"


def home(directory: DataDir) -> str:
    """Where the samples of the directory are, as `described`."""
    mark = directory.series_home
    return mark.read_text().strip() if mark.is_file() else OWN_FILES


def check_home(directory: DataDir, series: SeriesSettings) -> None:
    """Raises `Conflict` when the samples of the directory are elsewhere than ``series`` says."""
    wanted, found = described(series), home(directory)
    if found != wanted and (found != OWN_FILES or _has_samples(directory)):
        raise Conflict(
            f"the samples of {directory.path} are in {found}, the settings name {wanted}",
            "go back to those settings, or see how to change the store: pumpwatch series --help",
        )


def set_home(directory: DataDir, series: SeriesSettings) -> None:
    """From now on the samples are there."""
    if home(directory) == described(series):
        return
    if series.engine == "sqlite":
        directory.series_home.unlink(missing_ok=True)
    else:
        write_whole(directory.series_home, described(series) + "\n")


def _has_samples(directory: DataDir) -> bool:
    if not directory.series.exists():
        return False
    own = own_series(directory)
    try:
        return own.position() > 0
    finally:
        own.close()


def _tls(series: SeriesSettings) -> ssl.SSLContext | None:
    if not series.url.startswith("https:"):
        return None
    try:
        return ssl.create_default_context(cafile=series.ca_file)
    except OSError as error:
        raise InvalidInput(
            "series.ca_file",
            f"{series.ca_file} cannot be used ({error.strerror or error})",
            "give the PEM file of the authority that signed the server's certificate",
        ) from None
