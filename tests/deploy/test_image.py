"""The image: what the Dockerfile copies is enough to build, and what is built is whole."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COPIED = [
    source
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.M)
    for source in line.split()[:-1]
]
NEEDED = [
    "pumpwatch/py.typed",
    "pumpwatch/stores/migrations/script.py.mako",
    "pumpwatch/web/static/app.js",
    "pumpwatch/web/static/app.css",
    "pumpwatch/web/templates/fleet.html",
    "pumpwatch/web/locale/ja/LC_MESSAGES/web.po",
    "pumpwatch/alerting/locale/ja/LC_MESSAGES/alerting.po",
    "pumpwatch-*.dist-info/licenses/LICENSE",
    "pumpwatch_edge/message.py",
]
USE = """
import sys
from pathlib import Path
import pumpwatch, pumpwatch_edge
from pumpwatch.alerting.i18n import translator
from pumpwatch.stores.ledger import SqlLedger
from pumpwatch.web import pages
site, work = sys.argv[1:]
for package in (pumpwatch, pumpwatch_edge):
    assert Path(package.__file__).is_relative_to(site), package.__file__
SqlLedger(f"sqlite:///{work}/core.db").close()
for name in pages.TEMPLATES.list_templates():
    pages.TEMPLATES.get_template(name)
print(translator("ja").gettext("Go now"))
"""


def test_images_it_is_made_from_are_named_with_python_and_system() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)

    assert set(bases) == {"python:3.11-slim-bookworm"}


def test_it_runs_as_a_user_without_rights_on_the_locked_versions() -> None:
    lines = DOCKERFILE.splitlines()

    assert "USER pumpwatch" in lines
    assert lines.index("USER pumpwatch") < lines.index('CMD ["pumpwatch", "serve"]')
    assert re.search(r"pip install .*--require-hashes -r requirements.lock", DOCKERFILE)
    assert re.search(r"pip install .*--no-deps \./edge \.", DOCKERFILE)


def test_the_build_sees_what_is_copied_and_nothing_else() -> None:
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    shown = [rule[1:] for rule in rules if rule.startswith("!")]

    assert rules[1] == "*"
    assert sorted(shown) == sorted(COPIED)
    assert all((ROOT / name).exists() for name in COPIED)


@pytest.mark.journey
@pytest.mark.slow
def test_what_is_copied_builds_into_a_whole_program(tmp_path: Path) -> None:
    source, wheels, site, work = (tmp_path / name for name in ("src", "wheels", "site", "work"))
    for folder in (source, wheels, site, work):
        folder.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            left_out = shutil.ignore_patterns("__pycache__", "*.egg-info")  # as .dockerignore does
            shutil.copytree(ROOT / name, source / name, ignore=left_out)
        else:
            shutil.copy2(ROOT / name, source / name)
    wheel = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(wheels)]
    built = subprocess.run([*wheel, "./edge", "."], cwd=source, capture_output=True, text=True)
    if "hatchling" in built.stderr and "No matching distribution" in built.stderr:
        pytest.skip("pip cannot fetch hatchling")
    assert built.returncode == 0, built.stderr

    for file in wheels.iterdir():
        with zipfile.ZipFile(file) as content:
            content.extractall(site)
    there = [path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()]
    assert [name for name in NEEDED if not fnmatch.filter(there, name)] == []
    assert {name.split("/")[0].split("-")[0] for name in there} == {"pumpwatch", "pumpwatch_edge"}

    used = subprocess.run(
        [sys.executable, "-c", USE, str(site), str(work)],
        cwd=work, env=os.environ | {"PYTHONPATH": str(site)}, capture_output=True, text=True,
    )  # fmt: skip
    assert used.returncode == 0, used.stderr
    assert re.search(r"[ぁ-ん]", used.stdout), "the Japanese texts came along"
