from pathlib import Path

import pytest

from pumpwatch.alerting.i18n import as_lang, translator
from pumpwatch.domain.alerts import ms_from_iso
from pumpwatch.domain.errors import InvalidInput

NIGHT = ms_from_iso("2025-11-17T18:00:00Z")
PO = """
msgid ""
msgstr ""
"Content-Type: text/plain; charset=utf-8\\n"
"Plural-Forms: nplurals=1; plural=0;\\n"

msgid "Fleet"
msgstr "施設一覧"

msgid "{n} pump"
msgid_plural "{n} pumps"
msgstr[0] "ポンプ{n}台"
"""


@pytest.fixture
def web_locale(tmp_path: Path) -> Path:
    folder = tmp_path / "ja" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    (folder / "web.po").write_text(PO, encoding="utf-8")
    return tmp_path


def test_a_moment_is_written_in_the_time_of_the_site():
    assert translator("ja").moment(NIGHT, "Asia/Tokyo") == "11月18日(火) 03:00"
    assert translator("en").moment(NIGHT, "Asia/Tokyo") == "Tue 18 Nov 03:00"
    assert translator("en").moment(NIGHT, "UTC", year=True) == "Mon 17 Nov 2025 18:00"


def test_an_age_is_said_as_people_say_it():
    ja, en = translator("ja"), translator("en")
    assert (ja.age(180_000), en.age(180_000)) == ("3分前", "3 minutes ago")
    assert en.age(90 * 60_000) == "90 minutes ago"
    assert en.age(-5_000) == "just now"
    assert ja.age(0) == "たった今"
    assert ja.duration(3 * 86_400_000) == "3日"


def test_numbers_keep_the_decimals_asked_for():
    en = translator("en")
    assert en.number(1234.56, 1) == "1,234.6"
    assert en.percent(0.273) == "27%"
    assert en.number(-0.0) == en.number(-0.3) == "0"


def test_a_room_adds_its_catalogue_to_the_one_of_alerting(web_locale: Path):
    ja = translator("ja", web_locale)
    assert ja._("Fleet") == "施設一覧"
    assert ja._("just now") == "たった今"
    assert ja.ngettext("{n} pump", "{n} pumps", 2).format(n=2) == "ポンプ2台"
    assert translator("en", web_locale)._("Fleet") == "Fleet"
    assert translator("ja")._("Fleet") == "Fleet"


def test_a_language_of_the_house_is_asked_for_by_name():
    assert as_lang("ja") == "ja"
    with pytest.raises(InvalidInput, match="lang"):
        as_lang("fr")
