"""The pages in a real browser, on a phone and at a desk, in both languages."""

import shutil
from collections.abc import Iterator

import pytest

pytestmark = pytest.mark.browser

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE, DESK = (390, 844), (1440, 900)


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as player:
        browser = player.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser):
    """Open an address as a reader; complaints of the browser fail the test at its end."""
    contexts, complaints = [], []

    def open_page(url, size=PHONE, lang="ja", expected="-", **more):
        def complain(text):
            if expected not in text:
                complaints.append(text)

        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            locale={"ja": "ja-JP", "en": "en-GB"}[lang],
            has_touch=size == PHONE,
            **more,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda m: m.type in ("error", "warning") and complain(m.text))
        page.on("pageerror", lambda e: complain(str(e)))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def paths(world):
    ragging, power = (world.alert_of(c).id for c in ("capacity:pump2", "power"))
    return [
        "/",
        "/alerts",
        "/status",
        "/sites/demo/mh0006",
        "/sites/demo/mh0006/tuning",
        f"/alerts/{ragging}",
        f"/alerts/{power}",
    ]


@pytest.mark.parametrize("lang", ["ja", "en"])
@pytest.mark.parametrize("size", [(360, 740), PHONE, DESK])
def test_no_page_is_wider_than_its_window(world, server, visit, size, lang):
    url = server(world, demo=True)
    page = visit(url, size, lang)
    for path in paths(world):
        page.goto(url + path)
        inner, outer = page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert inner <= outer, path


@pytest.mark.parametrize("size", [PHONE, DESK])
def test_chart_text_is_large_enough_to_read(world, server, visit, size):
    url = server(world)
    page = visit(f"{url}/sites/demo/mh0006", size)
    heights = page.evaluate(
        """[...document.querySelectorAll('.chart text')].filter(t => t.getClientRects().length)
           .map(t => parseFloat(getComputedStyle(t).fontSize) * t.getScreenCTM().a)"""
    )
    assert len(heights) > 10
    assert min(heights) >= 10


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_what_is_behind_them(world, server, visit, scheme):
    """WCAG 2.2 AA: 4.5 to 1 for the state's words on their badges."""
    page = visit(server(world), PHONE, color_scheme=scheme)
    ratios = page.evaluate(
        """() => {
          const light = (c) => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number)
            .map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
          return [...document.querySelectorAll('.badge')].map(b => { const s = getComputedStyle(b);
            const [a, z] = [light(s.color), light(s.backgroundColor)].sort();
            return [b.textContent, (Math.max(a, z) + .05) / (Math.min(a, z) + .05)]; }); }"""
    )
    assert ratios
    assert all(ratio >= 4.5 for _, ratio in ratios), ratios


def test_everything_to_tap_is_large_enough(world, server, visit):
    url = server(world, demo=True)
    page = visit(url)
    for path in paths(world):
        page.goto(url + path)
        small = page.evaluate(
            """[...document.querySelectorAll('button, select, summary, nav a, .station a, .alert-line a, label.tick, input:not([type=hidden], [type=checkbox])')]
               .map(e => [e.textContent.trim() || e.name, e.getBoundingClientRect()])
               .filter(([, r]) => r.height && r.height < 44).map(([name]) => name)"""
        )
        assert small == [], path


def test_a_sample_moves_the_gauge_and_the_level_without_reload(world, server, visit):
    page = visit(server(world))
    page.wait_for_timeout(300)
    page.evaluate("window.kept = true")
    values = {"level_m": 1.62, "pump1_run": 1.0, "pump2_run": 0.0}
    sample = {"tenant": "demo", "site": "mh0001", "t_ms": world.clock.now_ms(), "values": values}
    before = page.locator("#s-demo-mh0001 [data-water]").get_attribute("height")
    world.feed.publish("sample", sample)
    page.locator("#s-demo-mh0001 [data-level]", has_text="1.62 m").wait_for()
    assert page.locator("#s-demo-mh0001 [data-runs]").inner_text() == "1号ポンプ 運転中"
    assert float(page.locator("#s-demo-mh0001 [data-water]").get_attribute("height")) > float(
        before
    )
    assert page.evaluate("window.kept")


def test_a_new_alert_appears_on_top_without_reload(world, sample, server, visit):
    page = visit(server(world))
    page.evaluate("window.kept = true")
    alert = world.open_alert(sample.critical_alert(world.keys[9]))
    world.feed.publish(
        "alert", {"id": alert.id, "tenant": "demo", "site": alert.key.site, "step": "opened"}
    )
    first = page.locator(".station").first
    first.locator("text=深井沢").wait_for()
    assert "緊急" in first.inner_text()
    assert page.evaluate("window.kept")


def test_ages_tick_at_the_speed_of_the_demo(world, server, visit):
    page = visit(server(world, demo=True), lang="en")
    age = page.locator("#s-demo-mh0001 time")
    age.filter(has_text="minutes ago").wait_for()


def test_a_crew_member_takes_an_alert_by_tapping(world, server, visit):
    url = server(world)
    path = f"{url}/alerts/{world.alert_of('capacity:pump2').id}"
    other = visit(path, DESK)
    page = visit(path)
    page.get_by_role("link", name="だれが対応しますか").tap()
    page.get_by_label("氏名").first.fill("山本")
    page.get_by_role("button", name="確認して対応する").tap()
    page.locator("#answer", has_text="山本が対応中").wait_for()
    other.locator("#answer", has_text="山本が対応中").wait_for()


def test_what_somebody_is_writing_is_not_taken_away(world, server, visit):
    page = visit(f"{server(world)}/alerts/{world.alert_of('capacity:pump2').id}", DESK, "en")
    page.locator("#answer input[name=note]").fill("on my way")
    alert = world.alert_of("capacity:pump2")
    world.people().add_note(alert.id, *note_of_a_colleague())
    world.feed.publish(
        "alert", {"id": alert.id, "tenant": "demo", "site": "mh0003", "step": "note"}
    )
    page.locator("#history", has_text="already there").wait_for()
    assert page.locator("#answer input[name=note]").input_value() == "on my way"


def note_of_a_colleague():
    from pumpwatch.domain.actors import Actor

    return Actor("local:佐藤", "local"), "already there"


def test_a_page_that_is_cut_off_says_so_and_comes_back(world, sample, server, visit):
    url = server(world)
    page = visit(url, lang="en", expected="ERR_CONNECTION_REFUSED")
    stale = page.locator("[data-stale]")
    page.wait_for_timeout(300)
    assert not stale.is_visible()
    server.stop()
    stale.wait_for()
    assert "Connection lost. What you see is as of" in stale.inner_text()
    again = sample.sample_world()
    again.open_alert(sample.critical_alert(again.keys[9]))
    server(again, port=int(url.rsplit(":")[-1]))
    stale.wait_for(state="hidden")
    page.locator(".station").first.locator("text=深井沢").wait_for()


def test_a_fault_is_started_from_the_page(world, server, visit):
    page = visit(server(world, demo=True), lang="en")
    page.locator("select[name=station]").select_option("mh0004")
    page.locator("select[name=fault]").select_option("check_valve_leak")
    page.locator("select[name=target]").select_option("pump2")
    page.get_by_role("button", name="Start the fault").tap()
    page.locator(".acting", has_text="浜寺西").wait_for()
    (fault,) = world.demo.active_faults()
    assert (fault.site, fault.fault, fault.target) == ("mh0004", "check_valve_leak", "pump2")


def test_everything_is_there_without_a_script(world, server, visit):
    url = server(world)
    page = visit(f"{url}/alerts/{world.alert_of('capacity:pump2').id}", java_script_enabled=False)
    page.get_by_label("氏名").first.fill("山本")
    page.get_by_role("button", name="確認して対応する").click()
    assert "山本が対応中" in page.locator("#answer").inner_text()
