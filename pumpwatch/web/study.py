"""The report of a verification study: one file that needs nothing beside it, for people who decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pumpwatch import __version__
from pumpwatch.alerting.i18n import N_, Lang, Translator
from pumpwatch.alerting.signs import pump_name
from pumpwatch.alerting.wording import fault_title
from pumpwatch.domain.alerts import Finding, iso_utc
from pumpwatch.domain.clock import DAY_MS, HOUR_MS
from pumpwatch.domain.signals import SIGNALS
from pumpwatch.domain.sites import Site
from pumpwatch.services.recorded_data import DataQuality, Lack
from pumpwatch.services.study import NOTICED_MS, Case, SiteStudy, Study
from pumpwatch.web import charts
from pumpwatch.web.deps import HERE, TEMPLATES
from pumpwatch.web.language import words_in

LONGEST_BAR_MS = 30 * DAY_MS
"""A lead this long or longer fills its bar."""

_LACKS = {
    Lack.CURRENT: N_(
        "No motor current: clogging and wear look more alike, and a failing motor is not seen."
    ),
    Lack.RAIN: N_("No rain gauge: rain is told from the inflow alone."),
    Lack.FLOAT: N_("No high-level float: nothing checks the level sensor at the top."),
    Lack.AREA: N_("Area of the well not known: capacity is relative, not in m³/min."),
    Lack.LEVELS: N_("Set start and stop levels not known: a changed setting is seen, not named."),
    Lack.COVERAGE: N_("Long gaps in the record: what happened in them is not known."),
    Lack.BLANK_LEVEL: N_("Many samples without a level."),
    Lack.COARSE_LEVEL: N_("Level in coarse steps: small changes of the switching levels hide."),
    Lack.SLOW_SAMPLING: N_(
        "Sampled too slowly for its short runs: capacity is uncertain. 10 seconds would do."
    ),
    Lack.UNPROVEN_PUMP: N_(
        "A pump was measured on fewer than half of the days: its standby is not proven."
    ),
}


def study_report(study: Study, title: str, made_ms: int, lang: Lang) -> str:
    """The whole report as one HTML page. ``made_ms`` is the moment it is dated with."""
    tr = words_in(lang)
    return TEMPLATES.get_template("study.html").render(
        _=tr.gettext,
        study=study,
        title=title,
        made_ms=made_ms,
        lang=lang,
        tr=tr,
        words=_Words(tr),
        charts=charts,
        shown=shown_cases(study),
        style=(HERE / "static" / "app.css").read_text(encoding="utf-8"),
        version=__version__,
        learning_days=study.settings.fit_days,
        noticed_days=NOTICED_MS // DAY_MS,
    )


def shown_cases(study: Study) -> list[Case]:
    """The failures whose charts are shown: a typical one, the shortest lead, and one that was missed."""
    drawable = [case for case in study.judged if case.series]
    seen = sorted((c for c in drawable if c.foreseen), key=lambda c: c.lead_ms or 0)
    missed = [c for c in drawable if not c.foreseen]
    chosen = [*seen[len(seen) // 2 : len(seen) // 2 + 1], *seen[:1], *missed[:1]]
    return [case for n, case in enumerate(chosen) if not any(case is c for c in chosen[:n])]


@dataclass(frozen=True, slots=True)
class _Words:
    """What the template asks for a word or a number."""

    tr: Translator

    def fault(self, code: str | None) -> str:
        return fault_title(code, self.tr) if code else self.tr._("not recorded")

    def what(self, fault: str | None, target: str | None) -> str:
        name = self.fault(fault)
        if target is None:
            return name
        return self.tr._("{pump}: {what}").format(pump=pump_name(target, self.tr), what=name)

    def pump(self, target: str) -> str:
        return pump_name(target, self.tr)

    def told(self, finding: Finding) -> str:
        return self.what(finding.fault[0], finding.target)

    def place(self, site: SiteStudy) -> str:
        return site.site.name or site.name

    def moment(self, t_ms: int, site: Site) -> str:
        return self.tr.moment(t_ms, site.timezone, year=True)

    def span(self, quality: DataQuality, site: Site) -> str:
        begin = self.tr.date(quality.start_ms, site.timezone, year=True)
        return f"{begin} – {self.tr.date(quality.end_ms, site.timezone, year=True)}"

    def days(self, ms: int | None) -> str:
        """``6.0 days`` / ``5 hours``; a dash for none."""
        if ms is None:
            return "–"
        if abs(ms) < 2 * DAY_MS:
            return self.tr._("{n} h").format(n=self.tr.number(ms / HOUR_MS))
        return self.tr._("{n} days").format(n=self.tr.number(ms / DAY_MS, 1))

    def bar(self, ms: int | None) -> int:
        """How much of its bar a lead fills [%]."""
        return round(100 * min(1.0, max(0, ms or 0) / LONGEST_BAR_MS))

    def share(self, part: int, of: int) -> str:
        return self.tr.percent(part / of) if of else "–"

    def number(self, value: float | None, decimals: int = 0) -> str:
        return "–" if value is None else self.tr.number(value, decimals)

    def outcome(self, case: Case) -> str:
        """One word on what became of a failure."""
        if case.foreseen and not case.sudden:
            return self.tr._("foreseen")
        if case.noticed_ms is not None:
            return self.tr._("told afterwards")
        return self.tr._("missed")

    def lacks(self, quality: DataQuality) -> list[str]:
        return [self.tr.gettext(_LACKS[lack]) for lack in quality.lacks]

    def signals(self, quality: DataQuality) -> str:
        return self.tr.listed(
            getattr(SIGNALS[name], self.tr.lang) for name in quality.signals if name in SIGNALS
        )

    def oddities(self, quality: DataQuality) -> list[str]:
        """What was wrong with rows, and was left out."""
        told = [
            (quality.repeated, N_("{n} repeated rows")),
            (quality.bad_times, N_("{n} rows without a readable time")),
            (quality.out_of_bounds, N_("{n} impossible values")),
        ]
        return [
            self.tr.gettext(text).format(n=self.tr.number(count)) for count, text in told if count
        ]


def study_json(study: Study) -> dict[str, object]:
    """The study's figures, for machines: what the report shows, without its words."""
    interval = study.foreseen_interval
    return {
        "failures": len(study.cases),
        "judged": len(study.judged),
        "foreseen": study.foreseen,
        "foreseen_interval_95": list(interval) if interval else None,
        "a_day_ahead": study.day_ahead,
        "median_lead_days": study.median_lead_days,
        "by_luck": study.luck,
        "foreseen_by_today's_alarms": study.foreseen_today,
        "site_months": study.site_months,
        "unneeded_alerts": len(study.stray),
        "unneeded_per_site_month": study.stray_rate,
        "unneeded_per_site_month_upper_95": study.stray_rate_upper,
        "today's_alarms_without_failure_per_site_month": study.stray_rate_today,
        "outside_the_record": [_failure_json(case) for case in map(Case, study.outside)],
        "cases": [_failure_json(case) for case in study.cases],
        "unneeded": [
            {"site": site.name, "at": iso_utc(f.t_ms), "fault": list(f.fault), "target": f.target}
            for site, f in study.stray
        ],
        "sites": [_site_json(site) for site in study.sites],
    }


def _failure_json(case: Case) -> dict[str, object]:
    failure = case.failure
    return {
        "site": failure.site,
        "failed_at": iso_utc(failure.failed_ms),
        "found": failure.found,
        "target": failure.target,
        "first_told_at": iso_utc(case.first.t_ms) if case.first else None,
        "lead_h": None if case.lead_ms is None else round(case.lead_ms / HOUR_MS, 1),
        "verdict": case.verdict,
        "right_group": case.right_group,
        "right_pump": case.right_pump,
        "told_afterwards_at": iso_utc(case.noticed_ms) if case.noticed_ms is not None else None,
        "today_lead_h": None
        if case.today_lead_ms is None
        else round(case.today_lead_ms / HOUR_MS, 1),
        "while_learning": case.learning,
        "sudden": case.sudden,
    }


def _site_json(site: SiteStudy) -> dict[str, object]:
    quality = site.data
    if quality is None:
        return {"site": site.name, "problem": site.problem}
    return {
        "site": site.name,
        "from": iso_utc(quality.start_ms),
        "to": iso_utc(quality.end_ms),
        "rows": quality.rows,
        "period_s": quality.period_s,
        "coverage": round(quality.coverage, 4),
        "cycles": quality.cycles,
        "lacks": _names(quality.lacks),
        "unneeded_alerts": len(site.stray),
        "facts_told": site.facts,
    }


def _names(lacks: Sequence[Lack]) -> list[str]:
    return [str(lack) for lack in lacks]
