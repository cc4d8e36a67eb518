"""The runbook: one page per alert code and language, written from the catalogue.

``python -m pumpwatch.alerting.runbook docs/runbook`` writes it anew; a test holds it fresh.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pumpwatch.alerting.catalogue import (
    ENTRIES,
    GROUP_TITLE,
    HUB_GROUP_TITLE,
    JOINED,
    URGENCY,
    URGENCY_TEXT,
    Entry,
)
from pumpwatch.alerting.i18n import LANGS, N_, Translator, translator
from pumpwatch.domain.faults import FAULT_GROUP, HUB_FAULTS, Group

_NAME = N_("Alert runbook")
_OBSERVED = N_("The panel or the level shows it directly.")
_HUB_OBSERVED = N_("The hub has noticed it in itself.")
_CONCLUDED = N_(
    "It is concluded from the signs in the alert: look at what speaks for and against it."
)


def pages() -> dict[str, str]:
    """Path below the runbook's folder → Markdown."""
    written = {"README.md": _front()}
    for lang in LANGS:
        tr = translator(lang)
        written[f"{lang}/README.md"] = _index(tr)
        written |= {f"{lang}/{code}.md": _page(code, tr) for code in ENTRIES}
    return written


def write(folder: Path) -> None:
    """Write all pages and remove those of codes that are no more."""
    wanted = pages()
    for old in folder.glob("*/*.md"):
        if old.relative_to(folder).as_posix() not in wanted:
            old.unlink()
    for name, text in wanted.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _front() -> str:
    titles = [translator(lang)._(_NAME) for lang in LANGS]
    links = "- [日本語](ja/README.md)\n- [English](en/README.md)"
    return _joined(["# " + " / ".join(titles), links])


def _index(tr: Translator) -> str:
    parts = [
        "# " + tr._(_NAME),
        tr._("This page is written from the program's own texts; change them there."),
        "## " + tr._("Urgency"),
        "\n".join(
            f"- **{tr._(URGENCY[severity])}** (`{severity}`): {tr._(text)}"
            for severity, text in URGENCY_TEXT.items()
        ),
    ]
    groups = {
        GROUP_TITLE[group]: [code for code in FAULT_GROUP if FAULT_GROUP[code] is group]
        for group in Group
    }
    for title, codes in [*groups.items(), (HUB_GROUP_TITLE, HUB_FAULTS)]:
        lines = [f"- [{_title(code, tr)}]({code}.md) `{code}`" for code in codes]
        parts += ["## " + tr._(title), "\n".join(lines)]
    return _joined(parts)


def _page(code: str, tr: Translator) -> str:
    entry = ENTRIES[code]
    parts = [
        "# " + _title(code, tr),
        f"`{code}` · {tr._(_group_title(code))}",
        tr._(entry.meaning),
        tr._(_known_by(code)),
        "## " + tr._("What to do"),
        "\n".join(f"{n}. {tr._(step)}" for n, step in enumerate(entry.do, 1)),
    ]
    if entry.bring:
        things = "\n".join(f"- {tr._(thing)}" for thing in entry.bring)
        parts += ["## " + tr._("What to bring"), things]
    parts += ["## " + tr._("How to verify afterwards"), tr._(entry.verify)]
    if code == "unusual":
        parts += [part for joined in JOINED.values() for part in _in_short(joined, tr)]
    all_alerts = tr._("All alerts")
    return _joined([*parts, f"[{all_alerts}](README.md)"])


def _in_short(entry: Entry, tr: Translator) -> list[str]:
    """A section of the page of an alert that is told under more than one title."""
    title = tr._(entry.title)
    steps = "\n".join(f"{n}. {tr._(step)}" for n, step in enumerate(entry.do, 1))
    return [f"## {title[:1].upper()}{title[1:]}", tr._(entry.meaning), steps, tr._(entry.verify)]


def _known_by(code: str) -> str:
    if code in HUB_FAULTS:
        return _HUB_OBSERVED
    return _OBSERVED if ENTRIES[code].observed else _CONCLUDED


def _group_title(code: str) -> str:
    return GROUP_TITLE[FAULT_GROUP[code]] if code in FAULT_GROUP else HUB_GROUP_TITLE


def _joined(parts: list[str]) -> str:
    return "\n\n".join(parts) + "\n"


def _title(code: str, tr: Translator) -> str:
    title = tr._(ENTRIES[code].title)
    return title[:1].upper() + title[1:]


if __name__ == "__main__":
    write(Path(sys.argv[1]))
