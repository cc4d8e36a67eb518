import io

import pytest

from pumpwatch.domain.alerts import Alert, Kind, Severity
from pumpwatch.domain.errors import DeliveryError
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import Notice
from pumpwatch.transports.console import ConsoleNotifier

ALERT = Alert(
    "a1", SiteKey("default", "mh0001"), "c", Kind.CONDITION, Severity.CRITICAL, ("overflow",),
    None, 1.0, {}, 0, 0,
)  # fmt: skip
NOTICE = Notice(
    "a1-1-console", "【直ちに出動】港町第1 溢水", "汚水が[あふれて]います。\n\n対応\n- " + "長い" * 60,
    ALERT, "opened", "港町第1", "http://localhost/alerts/a1",
)  # fmt: skip


def test_a_notice_is_one_block_with_title_body_and_address():
    stream = io.StringIO()
    ConsoleNotifier(stream).send(NOTICE)
    assert stream.getvalue() == (
        "\n【直ちに出動】港町第1 溢水\n  汚水が[あふれて]います。\n\n  対応\n  - "
        + "長い" * 60
        + "\n  http://localhost/alerts/a1\n"
    )


def test_without_an_address_nothing_stands_in_its_place():
    stream = io.StringIO()
    ConsoleNotifier(stream).send(Notice("k", "title", "body", ALERT, "opened"))
    assert stream.getvalue() == "\ntitle\n  body\n"


def test_a_stream_that_cannot_be_written_leaves_the_notice_owed():
    stream = io.StringIO()
    notifier = ConsoleNotifier(stream)
    stream.close()
    with pytest.raises(DeliveryError) as caught:
        notifier.send(NOTICE)
    assert not caught.value.permanent
