"""What the hub tells Prometheus: the fleet as gauges, the hub's own health as ages and counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pumpwatch.domain.alerts import Severity
from pumpwatch.domain.errors import StoreUnavailable
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import AlertBook, HubStatus, SiteBook, StatusSource, TimeSeriesStore
from pumpwatch.domain.sites import Site, SiteMode

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SITE = ["tenant", "site"]


class HubCollector(Collector):
    """Reads the ports anew at every scrape; holds nothing itself.

    Recordings are left out: their newest sample is old by nature, and they wake nobody. While the
    time series cannot be read, the gauges made of samples are absent and all others are there.
    """

    def __init__(
        self, sites: SiteBook, alerts: AlertBook, series: TimeSeriesStore, status: StatusSource
    ) -> None:
        self._sites, self._alerts, self._series, self._status = sites, alerts, series, status

    def collect(self) -> Iterable[Metric]:
        status = self._status.status()
        everything = self._sites.sites()
        stations = {k: s for k, s in everything.items() if s.mode is not SiteMode.RECORDING}
        yield from _hub(status)
        yield _names(stations)
        yield self._open_alerts(stations, everything)
        yield from self._newest(stations, status.now_ms)

    def _open_alerts(
        self, stations: Mapping[SiteKey, Site], everything: Mapping[SiteKey, Site]
    ) -> Metric:
        family = GaugeMetricFamily(
            "pumpwatch_open_alerts", "Alerts that are open", labels=["tenant", "severity"]
        )
        counts = {(key.tenant, severity): 0 for key in stations for severity in Severity}
        recordings = everything.keys() - stations.keys()
        for alert in self._alerts.open_alerts():
            if alert.key not in recordings:
                place = (alert.key.tenant, alert.severity)
                counts[place] = counts.get(place, 0) + 1
        for (tenant, severity), n in counts.items():
            family.add_metric([tenant, str(severity)], n)
        return family

    def _newest(self, stations: Iterable[SiteKey], now_ms: int) -> Iterable[Metric]:
        """Gauges of each station's newest row; a station without rows has none."""
        level = GaugeMetricFamily(
            "pumpwatch_level_metres", "Newest water level above the well's bottom", labels=_SITE
        )
        age = GaugeMetricFamily(
            "pumpwatch_last_sample_age_seconds", "Age of the newest sample", labels=_SITE
        )
        running = GaugeMetricFamily(
            "pumpwatch_pump_running", "1 while the pump runs", labels=[*_SITE, "pump"]
        )
        try:
            newest = self._series.latest(stations)
        except StoreUnavailable:
            return []
        for key, (t_ms, values) in newest.items():
            age.add_metric(key, max(0, now_ms - t_ms) / 1000)
            if "level_m" in values:
                level.add_metric(key, values["level_m"])
            for name, value in values.items():
                if name.endswith("_run"):
                    running.add_metric([*key, name.removesuffix("_run")], value)
        return [level, age, running]


def _names(stations: Mapping[SiteKey, Site]) -> Metric:
    family = GaugeMetricFamily(
        "pumpwatch_site_info", "1 for each station, with its name", labels=[*_SITE, "name"]
    )
    for key, site in stations.items():
        family.add_metric([*key, site.name or key.site], 1)
    return family


def _hub(status: HubStatus) -> Iterable[Metric]:
    yield GaugeMetricFamily(
        "pumpwatch_broker_connected",
        "1 while the hub is connected to its broker",
        value=float(status.broker_connected),
    )
    yield GaugeMetricFamily(
        "pumpwatch_problems", "Things that are wrong with the hub now", value=len(status.problems)
    )
    lag = GaugeMetricFamily(
        "pumpwatch_inbox_lag_messages", "Messages a consumer has not seen yet", labels=["consumer"]
    )
    for consumer, n in status.inbox_lag.items():
        lag.add_metric([consumer], n)
    yield lag
    counted = CounterMetricFamily(
        "pumpwatch_events", "What the hub counted since it started", labels=["what"]
    )
    for what, n in status.counters.items():
        counted.add_metric([what], n)
    yield counted
    ages = GaugeMetricFamily(
        "pumpwatch_stage_age_seconds", "Since the stage last did its work", labels=["stage"]
    )
    stages = {
        "message": status.last_message_ms,
        "commit": status.last_commit_ms,
        "assess": status.last_assess_ms,
        "series": status.last_series_write_ms,
        "notification": status.last_notification_ms,
        "upkeep": status.last_upkeep_ms,
    }
    for stage, then_ms in stages.items():
        if then_ms is not None:
            ages.add_metric([stage], max(0, status.now_ms - then_ms) / 1000)
    yield ages


def exposition(collector: HubCollector) -> bytes:
    """The metrics in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return generate_latest(registry)
