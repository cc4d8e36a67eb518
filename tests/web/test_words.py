"""Every text has its Japanese, and nothing in the catalogue is stale."""

from pathlib import Path

import pytest

import pumpwatch.web
from pumpwatch.alerting.catalogues import problems
from pumpwatch.alerting.i18n import translator
from pumpwatch.services.queries import Attention
from pumpwatch.web.charts import AXES, feature_name

ROOM = Path(pumpwatch.web.__file__).parent


def test_every_text_is_translated_and_none_is_stale():
    assert problems(ROOM) == []


def test_scripts_hold_no_words():
    """A script takes its texts from the page, so no word of it can stay untranslated."""
    for script in (ROOM / "static").glob("*.js"):
        code = "\n".join(line.split("//")[0] for line in script.read_text().splitlines())
        assert 'textContent = "' not in code
        assert "alert(" not in code


@pytest.mark.parametrize("feature", AXES)
def test_every_feature_that_is_drawn_has_a_name_in_japanese(feature):
    tr = translator("ja", ROOM / "locale")
    assert feature_name(feature, tr) != feature
    assert not feature_name(feature, tr).isascii()


@pytest.mark.parametrize("state", Attention)
def test_every_state_has_an_icon(state):
    assert f'id="i-{state}"' in (ROOM / "templates" / "parts.html").read_text()
