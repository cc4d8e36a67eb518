"""Every link between the pages of the project leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "edge" / "README.md",
    ROOT / "dashboards" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|<(?:img|a)\b[^>]*\b(?:src|href)=\"([^\"]+)\"")


def links(text: str) -> list[str]:
    """Targets inside the project, without what stands in code."""
    prose = re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.M | re.S)
    targets = [one or other for one, other in LINK.findall(prose)]
    return [t for t in targets if not re.match(r"[a-z]+:", t)]


def anchors(page: Path) -> set[str]:
    """The addresses of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken(page: Path, target: str) -> str:
    """Why a link leads nowhere; '' when it leads somewhere."""
    path, _, anchor = target.partition("#")
    there = (page.parent / path).resolve() if path else page
    if not there.is_relative_to(ROOT):
        return f"{target} leaves the project"
    if not there.exists():
        return f"{target} does not exist"
    if anchor and anchor not in anchors(there):
        return f"{target} has no such heading"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")

    assert [why for target in links(text) if (why := broken(page, target))] == []


@pytest.mark.parametrize(
    "text", ["[a](gone.md)", "[a](#gone)", "![a](gone.png)", '<img src="gone.png">', "[a](/etc)"]
)
def test_a_link_that_leads_nowhere_is_found(text: str) -> None:
    [target] = links(text)

    assert broken(ROOT / "README.md", target)


def test_pages_in_japanese_and_english_are_all_looked_at() -> None:
    assert {page.parent.name for page in PAGES} >= {"docs", "ja", "en", "edge", "dashboards"}
