"""Take pictures of a running server's pages: phone and desktop, Japanese and English.

    python scripts/screenshots.py --url http://127.0.0.1:8080 --out docs/images

Without ``--url`` the sample fleet of the tests is served for the time it takes. The pages are found
through the API: the station that needs attention most and its worst alert.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

SIZES = {"phone": (390, 844), "desktop": (1440, 900)}
LANGS = ("ja", "en")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--url", help="address of a running server; default: serve the sample fleet"
    )
    parser.add_argument("--out", type=Path, required=True, help="directory for the PNG files")
    parser.add_argument("--dark", action="store_true", help="as a reader with dark mode sees them")
    parser.add_argument("--whole", action="store_true", help="the whole length of each page")
    wishes = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        print("chromium: not found: install it, e.g. apt-get install chromium", file=sys.stderr)
        return 1
    wishes.out.mkdir(parents=True, exist_ok=True)
    with _server(wishes.url) as url, sync_playwright() as player:
        browser = player.chromium.launch(executable_path=chromium, args=FLAGS)
        for name, path in _pages(url).items():
            for size in SIZES:
                for lang in LANGS:
                    file = wishes.out / f"{name}-{size}-{lang}.png"
                    _shoot(browser, f"{url}{path}", file, size, lang, wishes)
                    print(file)
        browser.close()
    return 0


def _pages(url: str) -> dict[str, str]:
    with urllib.request.urlopen(f"{url}/api/v1/sites", timeout=10) as answer:  # noqa: S310 - our own
        stations: list[dict[str, Any]] = json.load(answer)["stations"]
    pages = {"fleet": "/", "status": "/status"}
    # A predictive alert shows most; a present fact does where there is none.
    alerts = [a for s in stations for a in s["alerts"]]
    alerts.sort(key=lambda a: (a["kind"] != "predictive", a["acknowledged_ms"] or 0))
    if alerts:
        pages["alert"] = f"/alerts/{alerts[0]['id']}"
        pages["site"] = f"/sites/{alerts[0]['tenant']}/{alerts[0]['site']}"
    elif stations:
        pages["site"] = f"/sites/{stations[0]['tenant']}/{stations[0]['site']}"
    return pages


def _shoot(
    browser: Browser, url: str, file: Path, size: str, lang: str, wishes: argparse.Namespace
) -> None:
    width, height = SIZES[size]
    page = browser.new_page(
        viewport={"width": width, "height": height},
        device_scale_factor=2 if size == "phone" else 1,
        color_scheme="dark" if wishes.dark else "light",
        locale={"ja": "ja-JP", "en": "en-GB"}[lang],
        timezone_id="Asia/Tokyo",
    )
    page.goto(f"{url}?lang={lang}", wait_until="load")
    page.screenshot(path=file, full_page=wishes.whole)
    page.close()


@contextmanager
def _server(url: str | None) -> Iterator[str]:
    if url is not None:
        yield url.rstrip("/")
        return
    import uvicorn

    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "web"))
    import sample_fleet

    from pumpwatch.web.app import create_app

    world = sample_fleet.sample_world()
    config = uvicorn.Config(create_app(world.deps(demo=True)), port=0, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        world.feed.close()
        server.should_exit = True
        thread.join(10)


if __name__ == "__main__":
    raise SystemExit(main())
