"""Rules of the house that no type checker knows."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pumpwatch
import pumpwatch_edge

ROOT = Path(pumpwatch.__file__).parent.parent
SOURCES = [*Path(pumpwatch.__file__).parent.rglob("*.py"),
           *Path(pumpwatch_edge.__file__).parent.rglob("*.py")]  # fmt: skip


def test_no_product_code_loads_pickled_data() -> None:
    banned = re.compile(r"^\s*(import|from) (pickle|joblib|cloudpickle|dill|shelve)\b", re.M)
    assert [p.name for p in SOURCES if banned.search(p.read_text())] == []


def test_nothing_prints_below_the_faces() -> None:
    loud = [
        p.relative_to(ROOT).as_posix()
        for p in SOURCES
        if re.search(r"^\s*print\(", text := p.read_text(), re.M)
        and "__main__" not in text
        and p.name != "cli.py"
    ]
    assert loud == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [p.name for p in SOURCES if not p.read_text().lstrip().startswith(('"""', 'r"""'))]
    assert [n for n in silent if not n.startswith("0")] == []


def test_importing_every_module_opens_no_socket_file_or_thread() -> None:
    names = [
        m.name
        for package in (pumpwatch, pumpwatch_edge)
        for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        if "migrations" not in m.name and not m.name.endswith("__main__")
    ]
    script = f"""
import sys, threading
opened = []
def audit(event, args):
    if event == "socket.bind" and args[1][:2] == ("::1", 0):
        return  # urllib3 asks the kernel whether there is IPv6
    if event == "socket.bind" or event == "socket.connect" or event == "sqlite3.connect":
        opened.append((event, args))
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        if not str(args[0]).endswith((".pyc", "null")) and ".pyc" not in str(args[0]):
            opened.append((event, args))
sys.addaudithook(audit)
import importlib
for name in {names!r}:
    importlib.import_module(name)
print(opened, [t.name for t in threading.enumerate() if t.daemon])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[] []"
    assert importlib.import_module("pumpwatch.domain")


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_names_hashes_and_no_address(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "--hash=sha256:" in text
    assert "://" not in text
