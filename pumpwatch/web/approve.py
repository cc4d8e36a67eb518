"""Taking in a station that reported before anybody knew it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pumpwatch.domain.actors import Actor
from pumpwatch.domain.errors import NotFound
from pumpwatch.domain.keys import DEMO_TENANT, SiteKey
from pumpwatch.domain.sites import Site, SiteMode, site_from_dict
from pumpwatch.services.registry import announced
from pumpwatch.web.deps import WebDeps


def approve(deps: WebDeps, key: SiteKey, fields: Mapping[str, Any], actor: Actor) -> Site:
    """Make a held station one of ours, with what its agent announced and what ``fields`` add.

    ``fields`` are those of ``site.json``. Raises `NotFound` when nothing is held under that name,
    `InvalidInput` naming a field that cannot be used.
    """
    held = next((h for h in deps.sites.held() if h.key == key), None)
    if held is None:
        raise NotFound(f"no station {key} waits for approval", "see the status page")
    mode = SiteMode.DEMO if key.tenant == DEMO_TENANT else SiteMode.LIVE
    site = site_from_dict({**announced(held), **fields, "site": key.site, "mode": mode})
    deps.sites.put_site(key, site, actor, deps.clock.now_ms())
    deps.feed.publish("site", {"tenant": key.tenant, "site": key.site})
    return site
