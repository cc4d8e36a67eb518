"""Settings: command line > environment ``PUMPWATCH_EDGE_…`` > file (TOML) > default.

Every setting stands once, in the dataclasses below. In the environment ``broker.host`` is
``PUMPWATCH_EDGE_BROKER__HOST``. An unknown name is refused, with the one that was probably meant.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

from pumpwatch_edge.errors import InvalidMessage, SettingsError
from pumpwatch_edge.message import Plan, check_id

PREFIX = "PUMPWATCH_EDGE_"


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """Where the broker is and how to speak to it."""

    host: str = "127.0.0.1"
    port: int = 1883
    username: str = ""
    password: str = field(default="", repr=False)
    password_file: str = ""
    client_id: str = ""
    version: str = "3.1.1"
    keepalive_s: int = 30
    tls: bool = False
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    retry_s: int = 2
    retry_max_s: int = 60

    def __post_init__(self) -> None:
        _expect(bool(self.host), "broker.host", self.host, "give a name or address")
        _expect(0 < self.port < 65536, "broker.port", self.port, "give 1 to 65535")
        _expect(
            5 <= self.keepalive_s <= 3600, "broker.keepalive_s", self.keepalive_s, "give 5 to 3600"
        )
        _expect(self.version in ("3.1.1", "5"), "broker.version", self.version, "give 3.1.1 or 5")
        _expect(
            0 < self.retry_s <= self.retry_max_s, "broker.retry_s", self.retry_s,
            "give seconds, at most retry_max_s",
        )  # fmt: skip
        for name in ("ca_file", "cert_file", "key_file"):
            file = getattr(self, name)
            _expect(
                not file or self.tls,
                f"broker.{name}",
                file,
                "set broker.tls = true or leave it out",
            )

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def backoff_s(self) -> tuple[int, int]:
        """First and largest ceiling of the jittered wait between attempts."""
        return self.retry_s, self.retry_max_s

    @property
    def silence_ms(self) -> int:
        """How long a connection with unacknowledged messages may say nothing at all."""
        return 2_000 * self.keepalive_s


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """What is read. ``replay`` plays a recorded site folder, ``speed`` times faster, 0 = no limit."""

    kind: str = "replay"
    dir: str = ""
    speed: float = 1.0

    def __post_init__(self) -> None:
        _expect(self.kind == "replay", "source.kind", self.kind, "give replay")
        _expect(
            math.isfinite(self.speed) and self.speed >= 0, "source.speed", self.speed,
            "give 0 (no limit) or more",
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """The local sampling plan (see `pumpwatch_edge.message.Plan`); ``period_s`` 0 = every reading."""

    period_s: float = 0.0
    dead_band: dict[str, float] = field(default_factory=dict)
    heartbeat_s: float = 60.0
    batch_samples: int = 500
    batch_age_s: float = 30.0
    derive_edges: bool = False

    def plan(self) -> Plan:
        try:
            return Plan(
                self.period_s or None,
                self.dead_band,
                self.heartbeat_s,
                self.batch_samples,
                self.batch_age_s,
            )
        except InvalidMessage as error:
            raise SettingsError(f"sampling.{error.problem}", error.remedy) from None


@dataclass(frozen=True, slots=True)
class OutboxSettings:
    """Where records wait for the hub, and how many bytes they may take."""

    file: str = "outbox.db"
    max_mb: float = 100.0

    def __post_init__(self) -> None:
        _expect(bool(self.file), "outbox.file", self.file, "name a file on a local disk")
        _expect(1 <= self.max_mb <= 100_000, "outbox.max_mb", self.max_mb, "give 1 to 100000")


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything one agent needs to know. Without ``site`` a replay takes it from its site.json."""

    tenant: str = "default"
    site: str = ""
    broker: BrokerSettings = field(default_factory=BrokerSettings)
    source: SourceSettings = field(default_factory=SourceSettings)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    outbox: OutboxSettings = field(default_factory=OutboxSettings)

    def __post_init__(self) -> None:
        for name, value in (("tenant", self.tenant), ("site", self.site or "unset")):
            try:
                check_id(value, name)
            except InvalidMessage as error:
                raise SettingsError(str(error)) from None
        self.sampling.plan()


def load(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Settings from a TOML file, an environment and dotted overrides (``broker.host``), later ones
    first in rank. Raises `SettingsError` naming the setting and the remedy."""
    values = _from_file(file) if file else {}
    for dotted, value in [*_from_environment(environment or {}), *(overrides or {}).items()]:
        _put(values, dotted, value)
    settings: Settings = _build(Settings, values, "")
    return _with_password(settings, values)


def setting_names() -> list[str]:
    """Every setting, dotted."""
    return [
        f"{part.name}.{f.name}" if is_dataclass(kind) else part.name
        for part in fields(Settings)
        for kind in [get_type_hints(Settings)[part.name]]
        for f in (fields(kind) if is_dataclass(kind) else [part])
    ]


def _from_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{file}: no such file", "give the path of your edge.toml") from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"{file}: cannot be read ({error})", "write it as TOML") from None


def _from_environment(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    found = [
        (name.removeprefix(PREFIX).lower().replace("__", "."), text)
        for name, text in environment.items()
        if name.startswith(PREFIX)
    ]
    for dotted, _ in found:
        if dotted not in setting_names():
            variable = PREFIX + dotted.upper().replace(".", "__")
            raise SettingsError(
                f"environment: {variable} is unknown", _meant(dotted, setting_names())
            )
    return sorted(found)


def _put(values: dict[str, Any], dotted: str, value: Any) -> None:
    *tables, name = dotted.split(".")
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            raise SettingsError(f"{table}: not a table", f"write [{table}] above its settings")
    values[name] = value


def _build(kind: type[Any], values: Any, where: str) -> Any:
    if not isinstance(values, dict):
        raise SettingsError(f"{where}: not a table", f"write [{where}] above its settings")
    hints = get_type_hints(kind)
    for name in values:
        if name not in hints:
            dotted = f"{where}.{name}" if where else name
            raise SettingsError(f"{dotted}: unknown setting", _meant(name, hints))
    return kind(
        **{
            name: _typed(hints[name], value, f"{where}.{name}" if where else name)
            for name, value in values.items()
        }
    )


def _typed(kind: Any, value: Any, name: str) -> Any:
    if is_dataclass(kind):
        return _build(kind, value, name)  # type: ignore[arg-type]
    try:
        if kind is bool:
            return _flag(value)
        if kind is str and isinstance(value, str):
            return value
        if kind in (int, float) and isinstance(value, int | float | str):
            number = kind(value)
            if not isinstance(value, bool) and (isinstance(value, str) or number == value):
                return number
        if isinstance(value, dict):
            return {key: _typed(float, v, f"{name}.{key}") for key, v in value.items()}
    except (ValueError, OverflowError):
        pass
    wanted = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    raise SettingsError(f"{name}: {value!r} cannot be used", f"give {wanted.get(kind, 'a table')}")


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if str(value).lower() not in words:
        raise ValueError(value)
    return words[str(value).lower()]


def _with_password(settings: Settings, values: dict[str, Any]) -> Settings:
    file = settings.broker.password_file
    if not file:
        return settings
    try:
        password = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"broker.password_file: {file} cannot be read ({error})", "name a readable file"
        ) from None
    values["broker"] |= {"password": password, "password_file": ""}
    built: Settings = _build(Settings, values, "")
    return built


def _meant(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = get_close_matches(name, known, 1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"


def _expect(good: bool, name: str, value: object, remedy: str) -> None:
    if not good:
        raise SettingsError(f"{name}: {value!r} cannot be used", remedy)
