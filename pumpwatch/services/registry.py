"""Sites enter and leave the ledger: from recordings, from files, by approval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pumpwatch.cycles.recording import find_recordings, read_log, read_site
from pumpwatch.domain.actors import Actor
from pumpwatch.domain.errors import Conflict, NotFound, PumpwatchError
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import HeldSite, SiteBook
from pumpwatch.domain.signals import MAX_PUMPS, run_signal
from pumpwatch.domain.sites import SiteMode
from pumpwatch.services.tuning_file import read_tunings


@dataclass(frozen=True, slots=True)
class Recordings:
    """Recorded sites by id, and what is wrong with folders (by their name) that say no id of their own."""

    folders: dict[str, Path] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)


def choose_recordings(folder: Path, sites: Sequence[str]) -> Recordings:
    """The recorded-site folders under ``folder`` whose ids are in ``sites`` (all when empty).

    A folder that cannot be used stops no other. Raises `NotFound` naming an id that no folder has.
    """
    found = Recordings()
    for path in find_recordings(folder):
        try:
            site = read_site(path).site
            if site in found.folders:
                raise Conflict(
                    f"{path} is {site!r} like {found.folders[site]}", "give it its own id"
                )
        except PumpwatchError as error:
            found.broken[path.name] = str(error)
        else:
            found.folders[site] = path
    missing = [site for site in sites if site not in found.folders | found.broken]
    if missing:
        raise NotFound(
            f"{folder} holds no site {missing[0]!r}", "see the ids in its site.json files"
        )
    if not sites:
        return found
    return Recordings(
        {site: path for site, path in found.folders.items() if site in sites},
        {name: why for name, why in found.broken.items() if name in sites},
    )


def announced(held: HeldSite) -> dict[str, Any]:
    """Fields of ``site.json`` that the agent of a held site told at its birth."""
    birth, found = held.birth, dict[str, Any]()
    if birth is None:
        return found
    pumps = [n for n in range(1, MAX_PUMPS + 1) if run_signal(n) in birth.signals]
    if pumps:
        found["pumps"] = max(pumps)
    if birth.period_s:
        found["sample_s"] = birth.period_s
    return found


def register_recording(
    book: SiteBook, folder: Path, tenant: str, now_ms: int, actor: Actor
) -> SiteKey:
    """Put a recorded site, its log and its own settings into the ledger; doing it again changes nothing.

    Settings that were changed in the ledger since stay as they are there. Raises `Conflict` when the id
    belongs to a real station of that tenant.
    """
    site, entries, versions = read_site(folder), read_log(folder), read_tunings(folder)
    key = SiteKey(tenant, site.site)
    present = book.site(key)
    if present is not None and present.mode is not SiteMode.RECORDING:
        raise Conflict(f"{key} is a {present.mode} site", "use another --tenant for recordings")
    if present != site:
        book.put_site(key, site, actor, now_ms)
    for entry in entries:
        book.add_log(key, entry, actor, now_ms)
    known = book.tunings(key).get(key, [])
    if known == versions[: len(known)]:
        for version in versions[len(known) :]:
            book.add_tuning(key, version)
    return key
