"""Who a reading belongs to: tenant and site, and the rule both ids obey."""

from __future__ import annotations

import re
from typing import NamedTuple

from pumpwatch.domain.errors import InvalidInput

ID_PATTERN = re.compile(r"[a-z0-9-]{1,64}")
DEFAULT_TENANT = "default"
DEMO_TENANT = "demo"


class SiteKey(NamedTuple):
    """The key of everything: a site belongs to one tenant."""

    tenant: str
    site: str

    def __str__(self) -> str:
        return f"{self.tenant}/{self.site}"


HUB_KEY = SiteKey("_", "pumpwatch")
"""What alerts about the installation itself belong to. `check_id` gives this tenant to no site."""


def check_id(value: str, field: str) -> str:
    """Return ``value`` if it may stand in a topic, else raise `InvalidInput` naming ``field``."""
    if not ID_PATTERN.fullmatch(value):
        raise InvalidInput(field, f"{value!r} is not an id", "use 1 to 64 of a-z, 0-9 and '-'")
    return value
