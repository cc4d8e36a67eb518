"""Keep the gettext catalogues in step with the code: extract, update, check.

``python -m pumpwatch.alerting.catalogues pumpwatch/alerting pumpwatch/web`` brings
``locale/ja/LC_MESSAGES/<room>.po`` of each room up to date: new texts arrive empty, texts that
nobody uses any more leave. `problems` is what the tests of a room ask.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.pofile import read_po, write_po

_METHODS = [("**.py", "python"), ("**/templates/**.*", "jinja2")]
_OPTIONS = {"**/templates/**.*": {"silent": "false"}}


def po_path(room: Path, lang: str = "ja") -> Path:
    return room / "locale" / lang / "LC_MESSAGES" / f"{room.name}.po"


def extract(room: Path) -> Catalog:
    """Every text marked for translation in the Python files and templates below ``room``."""
    found = Catalog(project="pumpwatch", charset="utf-8")
    for name, line, msgid, comments, context in extract_from_dir(
        room, _METHODS, _OPTIONS, keywords=DEFAULT_KEYWORDS, comment_tags=["i18n:"]
    ):
        found.add(msgid, None, [(name, line)], auto_comments=comments, context=context)
    return found


def update(room: Path, lang: str = "ja") -> Catalog:
    """Write the room's catalogue anew, keeping every translation that still has a text."""
    path = po_path(room, lang)
    catalogue = _read(path, lang) if path.exists() else _empty(lang)
    catalogue.update(extract(room), no_fuzzy_matching=True, update_creation_date=False)
    catalogue.obsolete.clear()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        write_po(file, catalogue, width=100, sort_by_file=True, no_location=True)
    return catalogue


def problems(room: Path, lang: str = "ja") -> list[str]:
    """What is wrong with a room's catalogue, one line each: missing, fuzzy, stale, broken fields."""
    wanted = {message.id for message in extract(room) if message.id}
    have = {message.id: message for message in _read(po_path(room, lang), lang) if message.id}
    return sorted(
        [f"not translated: {id_!r}" for id_ in wanted if not _translated(have.get(id_))]
        + [f"nobody says it any more: {id_!r}" for id_ in have.keys() - wanted]
        + [f"fuzzy: {id_!r}" for id_, message in have.items() if message.fuzzy]
        + [f"fields differ: {id_!r}" for id_, message in have.items() if _fields_differ(message)]
    )


def _empty(lang: str) -> Catalog:
    return Catalog(
        locale=lang,
        project="pumpwatch",
        version="1",
        charset="utf-8",
        fuzzy=False,
        header_comment="# Texts of pumpwatch, English to " + lang,
        last_translator="pumpwatch",
        language_team=lang,
    )


def _read(path: Path, lang: str) -> Catalog:
    with path.open("rb") as file:
        return read_po(file, locale=lang)


def _translated(message: Message | None) -> bool:
    return message is not None and all(_strings(message.string))


def _strings(value: str | Sequence[str] | None) -> list[str]:
    return [value or ""] if value is None or isinstance(value, str) else list(value)


def _fields_differ(message: Message) -> bool:
    """Whether a translation names a ``{field}`` its text does not have, or leaves one out."""
    said = [_fields(text) for text in _strings(message.id)]
    allowed, needed = set.union(*said), set.intersection(*said)
    translated = [_fields(text) for text in _strings(message.string) if text]
    return any(not needed <= fields <= allowed for fields in translated)


def _fields(text: str) -> set[str]:
    return set(re.findall(r"\{(\w*)", text))


def main(rooms: list[str]) -> None:
    for room in map(Path, rooms):
        catalogue = update(room)
        empty = sum(1 for m in catalogue if m.id and not _translated(m))
        print(f"{po_path(room)}: {len(catalogue)} texts, {empty} to translate")


if __name__ == "__main__":
    main(sys.argv[1:])
