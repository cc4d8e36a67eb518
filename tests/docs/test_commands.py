"""Every command line that is written down, for people or for machines, is one the programs know."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.main import get_command

from pumpwatch.app import settings as hub
from pumpwatch.app.cli import app
from pumpwatch.simulator.scenario import read_scenario
from pumpwatch_edge import settings as edge
from pumpwatch_edge.cli import _parser as edge_parser

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "edge" / "README.md",
    ROOT / "dashboards" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
PROGRAM = re.compile(
    r"^(?:sudo (?:-u \S+ )?)?(?:docker compose exec \S+ )?(?:[A-Z_]+=\S+ )*(?:\S*/)?"
    r"(pumpwatch-edge|pumpwatch|make)(?= |$)(.*)$"
)


UsageError = typer.BadParameter.__mro__[1]
"""What typer raises for any wrong usage; it has no public name."""


class Unknown(Exception):
    """The program does not know this command line."""


def pumpwatch(arguments: list[str]) -> None:
    command: Any = get_command(app)
    while arguments and arguments[0] in getattr(command, "commands", {}):
        command = command.commands[arguments[0]]
        arguments = arguments[1:]
    try:
        context = command.make_context("pumpwatch", arguments)
    except typer.Exit:  # --help, --version
        return
    except UsageError as error:
        raise Unknown(str(error)) from None
    left = [*getattr(context, "_protected_args", ()), *context.args]
    if hasattr(command, "commands") and (left or not command.invoke_without_command):
        raise Unknown(f"no such command: {left}")


def pumpwatch_edge(arguments: list[str]) -> None:
    try:
        edge_parser().parse_args(arguments)
    except SystemExit as end:
        if end.code:
            raise Unknown(str(arguments)) from None


def make(arguments: list[str]) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    for argument in arguments:
        name, assigned, value = argument.partition("=")
        if name == "ARGS" and assigned and arguments[0] == "demo":
            pumpwatch(["demo", *shlex.split(value)])
        elif not assigned and name not in targets:
            raise Unknown(f"make {name}")


PROGRAMS: dict[str, Callable[[list[str]], None]] = {
    "pumpwatch": pumpwatch,
    "pumpwatch-edge": pumpwatch_edge,
    "make": make,
}


def blocks(text: str, *languages: str) -> list[str]:
    """The contents of fenced code blocks in one of the languages."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S)
    return [content for language, content in fenced if language in languages]


def command_lines(text: str) -> list[str]:
    """The command lines of our programs in the fenced blocks of a page."""
    shell = "\n".join(blocks(text, "sh", "bash", "console", "shell", "")).replace("\\\n", " ")
    parts = re.split(r"\n|&&|\|\||;", shell)
    lines = [re.sub(r"^\s*\$ |\s+#.*$", "", part).strip() for part in parts]
    return [line for line in lines if PROGRAM.match(line)]


def inline(text: str) -> list[str]:
    """Command lines between backticks in running text, unless they are cut short or leave out words."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    found = [
        one for one in re.findall(r"`([^`\n]+)`", prose) if re.match(r"(pumpwatch|make) ", one)
    ]
    return [one for one in found if "…" not in one and "|" not in one]


def machine_lines() -> list[tuple[str, str]]:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    started = [s["command"] for s in compose["services"].values() if "build" in s]
    started += [
        yaml.safe_load(one) for one in re.findall(r"^CMD (\[.*\])$", text_of("Dockerfile"), re.M)
    ]
    unit = re.findall(r"^ExecStart=(.*)$", text_of("deploy/pumpwatch.service"), re.M)
    return [("machine", line) for line in [*map(shlex.join, started), *unit]]


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


WRITTEN = [
    (page.relative_to(ROOT).as_posix(), line)
    for page in PAGES
    for line in command_lines(page.read_text(encoding="utf-8"))
] + machine_lines()


def check(line: str) -> None:
    found = PROGRAM.match(line)
    assert found is not None, line
    PROGRAMS[found[1]](shlex.split(found[2].split(" | ")[0].split(" > ")[0]))


@pytest.mark.parametrize(("place", "line"), WRITTEN)
def test_a_written_command_line_is_known(place: str, line: str) -> None:
    check(line)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_named_in_running_text_are_there(page: Path) -> None:
    for line in inline(page.read_text(encoding="utf-8")):
        try:
            check(line)
        except Unknown as unknown:
            if "Missing" not in str(unknown):
                raise AssertionError(f"{line}: {unknown}") from None


@pytest.mark.parametrize(
    "line",
    [
        "pumpwatch dmeo",
        "pumpwatch demo --hedless",
        "pumpwatch sites",
        "pumpwatch sites aprove mh0001",
        "pumpwatch backtest recordings",
        "sudo -u pumpwatch /opt/pumpwatch/bin/pumpwatch doctor --jsn",
        "pumpwatch-edge run --spede 3",
        "make demmo",
        'make demo ARGS="--no-falt"',
    ],
)
def test_a_wrong_command_line_is_found(line: str) -> None:
    with pytest.raises(Unknown):
        check(line)


def test_command_lines_are_found_in_a_page() -> None:
    text = "```sh\n$ make demo  # once\ncd x && pumpwatch \\\n  doctor\nsystemctl stop pumpwatch\n```\n"

    assert command_lines(text) == ["make demo", "pumpwatch    doctor"]
    assert len(WRITTEN) > 20


# -- settings that are written down ----------------------------------------------------------------


TOML = [(page, block) for page in PAGES for block in blocks(page.read_text("utf-8"), "toml")]


@pytest.mark.parametrize(("page", "block"), TOML)
def test_a_written_settings_file_is_sound(page: Path, block: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(block, encoding="utf-8")
    if page.parent.name == "edge":
        secret = Path(tomllib.loads(block)["broker"]["password_file"])
        file.write_text(block.replace(str(secret), str(tmp_path / "password")), encoding="utf-8")
        (tmp_path / "password").write_text("secret")
        assert edge.load(file, {}, {}).site == "mh0001"
    elif page.name == "simulator.md":
        assert read_scenario(block, "page.toml").events
    else:
        hub.load_settings(file)


def test_every_variable_that_is_written_down_exists() -> None:
    named = {
        name
        for page in PAGES
        if page.parent.name != "edge"
        for name in re.findall(r"\bPUMPWATCH_(?!EDGE)[A-Z_]*[A-Z]", page.read_text("utf-8"))
    }
    known = {f"PUMPWATCH_{name.upper()}" for name in hub.Settings.model_fields}

    assert {n for n in named if n.split("__")[0] not in known} <= hub._OTHER_VARIABLES


def test_a_password_from_the_secrets_directory_joins_what_the_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/operations.md describes it for systemd's credentials."""
    page = text_of("docs/operations.md")
    [unit] = blocks(page, "ini")
    [secret] = blocks(page, "json")
    [name] = re.findall(r"^LoadCredential=(\w+):", unit, re.M)
    tls = next(block for _, block in TOML if "ca_file" in block and "town" in block)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / name).write_text(secret)
    (tmp_path / "pumpwatch.toml").write_text(tls)
    monkeypatch.setenv("PUMPWATCH_SECRETS_DIR", str(tmp_path / "secrets"))
    broker = hub.load_settings(tmp_path / "pumpwatch.toml").broker

    assert (broker.host, broker.tls, broker.username) == ("broker.town.example", True, "hub")
    assert broker.password is not None
    assert broker.password.get_secret_value() in secret
