"""Everything that can be set, with its unit, its default and its bounds, in one place.

Command line > environment (``PUMPWATCH_…``, nested with ``__``) > secrets directory > file
(``pumpwatch.toml``) > default.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from pumpwatch.domain.errors import InvalidInput, PumpwatchError
from pumpwatch.domain.proofs import PROOF_DAYS

DEFAULT_FILE = Path("pumpwatch.toml")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BrokerSettings(_Section):
    """The MQTT broker. ``embedded`` starts a private one on loopback."""

    host: str = Field("127.0.0.1", description="name or address of the broker")
    port: int = Field(1883, ge=1, le=65535, description="TCP port of the broker")
    embedded: bool = Field(False, description="start a private broker on loopback")
    username: str | None = Field(None, description="user name, if the broker asks for one")
    password: SecretStr | None = Field(
        None, description="password; better in the secrets directory"
    )
    tls: bool = Field(False, description="speak TLS")
    ca_file: Path | None = Field(None, description="certificate authority that signed the broker")


class InboxSettings(_Section):
    """What may wait in the inbox before its sender has to keep it."""

    held_site_mb: int = Field(
        100, ge=1, description="messages of one site not approved or set aside [MB]"
    )
    held_mb: int = Field(1_000, ge=1, description="the same of all such sites together [MB]")
    held_days: int = Field(30, ge=1, description="how long such messages are kept [days]")
    backlog_messages: int = Field(
        10_000_000, ge=1_000, description="unread messages above which agents keep telemetry"
    )
    reserve_mb: int = Field(512, ge=0, description="free disk below which agents keep it [MB]")


class HealthSettings(_Section):
    """How long work may wait before ``/readyz`` says that the hub is not well."""

    message_min: float = Field(15, gt=0, description="nothing heard of any live station [min]")
    commit_s: float = Field(60, gt=0, description="a message received and not on disk [s]")
    assess_min: float = Field(5, gt=0, description="a message on disk and not judged [min]")
    series_min: float = Field(15, gt=0, description="a message on disk and not recorded [min]")
    notify_min: float = Field(10, gt=0, description="a channel that takes nothing [min]")
    alert_min: float = Field(
        5, gt=0, description="people are told of an outage of the hub that lasts so long [min]"
    )
    heartbeat_url: SecretStr | None = Field(
        None,
        description="address to GET while all is well; a service there calls when it stays away",
    )
    heartbeat_min: float = Field(5, gt=0, description="between two heartbeats [min]")

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        url = self.heartbeat_url
        where = _address(url.get_secret_value() if url else "")
        known = url is None or (where.scheme in ("http", "https") and bool(where.hostname))
        _demand_of(
            "health", known, "heartbeat_url", "is not the address of a service",
            "e.g. https://hc-ping.com/…",
        )  # fmt: skip
        return self


class SeriesSettings(_Section):
    """Where samples are kept: in files of the data directory, or in a time-series server."""

    engine: Literal["sqlite", "influx", "victoria"] = Field(
        "sqlite", description="sqlite: files in the data directory; or InfluxDB, or VictoriaMetrics"
    )
    url: str = Field("", description="address of the server, e.g. http://127.0.0.1:8428")
    version: int = Field(2, ge=1, le=3, description="generation of InfluxDB")
    database: str = Field("", description="database of InfluxDB 1 and 3, bucket of InfluxDB 2")
    org: str = Field("", description="organisation in InfluxDB 2")
    token: SecretStr | None = Field(None, description="token for InfluxDB 2 and 3")
    username: str = Field(
        "", description="user name, if InfluxDB 1 or VictoriaMetrics asks for one"
    )
    password: SecretStr | None = Field(
        None, description="password; better in the secrets directory"
    )
    ca_file: Path | None = Field(None, description="certificate authority that signed the server")
    timeout_s: float = Field(10, gt=0, le=300, description="one request may take this long")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        """What this engine needs is there, and nothing that another one would need."""
        if self.engine == "sqlite":
            return self
        where = _address(self.url)
        _demand(
            where.scheme in ("http", "https") and bool(where.hostname) and not where.query,
            "url", "is not the address of a server", "e.g. http://127.0.0.1:8428",
        )  # fmt: skip
        _demand(
            where.username is None,
            "url", "holds a user name or password", "use series.username and series.password",
        )  # fmt: skip
        _demand(
            self.ca_file is None or where.scheme == "https",
            "ca_file", "is of use with https only", "write https:// in series.url",
        )  # fmt: skip
        _demand(
            bool(self.username) == (self.password is not None),
            "password" if self.username else "username",
            "is missing", "series.username and series.password go together",
        )  # fmt: skip
        return self._complete_influx() if self.engine == "influx" else self._complete_victoria()

    def _complete_influx(self) -> Self:
        _demand(
            bool(self.database), "database", "is missing", "name the database or bucket to write to"
        )
        if self.version == 1:
            _demand(
                self.token is None,
                "token", "is not for InfluxDB 1", "use series.username and series.password",
            )  # fmt: skip
            return self
        _demand(
            not self.username,
            "username", "is for InfluxDB 1", f"InfluxDB {self.version} takes series.token",
        )  # fmt: skip
        if self.version == 2:
            _demand(bool(self.org), "org", "is missing", "name the organisation of the bucket")
            _demand(
                self.token is not None, "token", "is missing", "make one that may read and write"
            )
        return self

    def _complete_victoria(self) -> Self:
        for name in ("database", "org", "token"):
            _demand(
                not getattr(self, name),
                name, "is not for VictoriaMetrics", "take it out, or set series.engine to influx",
            )  # fmt: skip
        return self


def _address(url: str) -> SplitResult:
    """The parts of an address; none of one whose port is no number."""
    try:
        where = urlsplit(url)
        _ = where.port
    except ValueError:
        return urlsplit("")
    return where


def _demand(holds: bool, field: str, problem: str, remedy: str) -> None:
    _demand_of("series", holds, field, problem, remedy)


def _demand_of(section: str, holds: bool, field: str, problem: str, remedy: str) -> None:
    if not holds:
        raise InvalidInput(f"{section}.{field}", problem, remedy)


class LedgerSettings(_Section):
    """The ledger: stations, alerts, what is owed, who did what."""

    url: str = Field(
        "", description="postgresql://USER@HOST:5432/DATABASE; empty: core.db in data_dir"
    )
    password: SecretStr | None = Field(
        None, description="password of that user; better in the secrets directory"
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        where = urlsplit(self.url)
        known = not self.url or (where.scheme == "postgresql" and len(where.path) > 1)
        _demand_of(
            "ledger", known, "url", "is not the address of a PostgreSQL database",
            "write postgresql://USER@HOST:5432/DATABASE",
        )  # fmt: skip
        _demand_of(
            "ledger", where.password is None, "url", "holds a password", "use ledger.password"
        )
        return self


LEAST_KEPT_DAYS = 60
"""Of fewer days of samples nothing could be learned."""


class RetentionSettings(_Section):
    """How long what samples say is kept. Cycles and alerts are kept for ever. 0: for ever."""

    samples_days: int = Field(1_096, ge=0, le=36_525, description="samples as they came [days]")
    minutes_days: int = Field(1_827, ge=0, le=36_525, description="one-minute sums [days]")
    hours_days: int = Field(0, ge=0, le=36_525, description="one-hour sums [days]")

    @model_validator(mode="after")
    def _coarser_lasts_longer(self) -> Self:
        """Sums are for the time of which the samples are gone."""
        days = [self.samples_days, self.minutes_days, self.hours_days]
        names = ["samples_days", "minutes_days", "hours_days"]
        for name, own, finer in zip(names, days, [LEAST_KEPT_DAYS, *days], strict=False):
            if own and (not finer or own < finer):
                least = f"{finer}, or 0 (for ever)" if finer else "0 (for ever)"
                raise InvalidInput(
                    f"retention.{name}", f"{own} days are too few", f"at least {least}"
                )
        return self


class WebSettings(_Section):
    """The pages and the JSON API."""

    host: str = Field(
        "127.0.0.1", description="address to listen on; loopback until accounts exist"
    )
    hosts: list[str] = Field(
        [], description="names by which the pages are called; needed when host is not loopback"
    )
    port: int = Field(8000, ge=0, le=65535, description="TCP port; 0 takes a free one")
    language: Literal["ja", "en"] = Field(
        "ja", description="language where the visitor states none"
    )


class WebhookSettings(_Section):
    """A signed webhook that is told of every alert."""

    url: str = Field(description="https address that takes the POST")
    secret: SecretStr = Field(description="whsec_ and 24 to 64 bytes in base64; signs the body")
    old_secret: SecretStr | None = Field(None, description="still signed with during a rotation")
    private_hosts: list[str] = Field([], description="hosts that may have a private address")
    allow_loopback: bool = Field(False, description="allow this machine, also over http")
    timeout_s: float = Field(10, gt=0, le=60, description="one attempt may take this long")


class NotifySettings(_Section):
    """Who is told."""

    console: bool = Field(True, description="print alerts on the hub's own terminal")
    language: Literal["ja", "en"] = Field("ja", description="language of notifications")
    base_url: str = Field("", description="address of the pages, for links in notifications")
    webhook: WebhookSettings | None = None


class TrainingSettings(_Section):
    """How models are fitted."""

    workers: int = Field(1, ge=1, le=64, description="worker processes that fit models")
    challenger_days: int = Field(
        30,
        ge=0,
        le=3_650,
        description="age of a model at which a challenger is fitted [days]; 0: never",
    )
    promote_unchanged: bool = Field(
        False, description="promote a challenger under which no past alert appears or vanishes"
    )


class DiagnosisOptions(_Section):
    """What a town may turn off; thresholds per site belong to tuning."""

    partner_comparison: bool = Field(
        True, description="compare the pumps of one station with each other (see docs/patents.md)"
    )
    proof_days: int = Field(
        PROOF_DAYS, ge=0, le=365, description="a pump must draw down within so many days; 0: any"
    )


class Settings(BaseSettings):
    """The settings of one hub."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix="PUMPWATCH_",
        env_nested_delimiter="__",
        secrets_dir=None,
    )

    data_dir: Path = Field(Path("pumpwatch-data"), description="where all state lives")
    log_format: Literal["auto", "text", "json"] = Field(
        "auto", description="auto: text on a terminal, JSON lines elsewhere"
    )
    broker: BrokerSettings = BrokerSettings()
    inbox: InboxSettings = InboxSettings()
    health: HealthSettings = HealthSettings()
    series: SeriesSettings = SeriesSettings()
    retention: RetentionSettings = RetentionSettings()
    ledger: LedgerSettings = LedgerSettings()
    web: WebSettings = WebSettings()
    notify: NotifySettings = NotifySettings()
    training: TrainingSettings = TrainingSettings()
    diagnosis: DiagnosisOptions = DiagnosisOptions()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = TomlConfigSettingsSource(settings_cls, cls.model_config.get("toml_file"))
        return init_settings, env_settings, file_secret_settings, file


def load_settings(file: Path | None = None, overrides: dict[str, Any] | None = None) -> Settings:
    """Read the settings from all their sources.

    ``overrides`` come from the command line, nested like the file. A key nobody knows, or a value
    out of its bounds, raises `InvalidInput` that names the key and what it may be.
    """
    if file is not None and not file.is_file():
        raise PumpwatchError(f"there is no settings file {file}", "check the path of --config")
    toml_file = file or (DEFAULT_FILE if DEFAULT_FILE.is_file() else None)
    secrets_dir = os.environ.get("PUMPWATCH_SECRETS_DIR")
    if secrets_dir is not None and not Path(secrets_dir).is_dir():
        raise PumpwatchError(
            f"there is no secrets directory {secrets_dir}", "correct PUMPWATCH_SECRETS_DIR"
        )
    _refuse_unknown_environment()

    class _FromFiles(Settings):
        model_config = SettingsConfigDict(toml_file=toml_file, secrets_dir=secrets_dir)

    try:
        values = _FromFiles(**(overrides or {}))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(str(toml_file), f"is not TOML: {error}", "correct that line") from None
    except SettingsError as error:
        raise InvalidInput(
            "environment",
            str(error),
            "write a section as JSON, or one variable a key, e.g. PUMPWATCH_BROKER__PORT",
        ) from None
    except ValidationError as error:
        raise _explain(error, toml_file) from None
    return values


def _explain(error: ValidationError, file: Path | None) -> InvalidInput:
    """The first problem as one line: which key, what is wrong, what it may be."""
    problem = error.errors()[0]
    path = [str(p) for p in problem["loc"]]
    where = f" (in {file})" if file else ""
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], _keys_beside(path), n=1)
        hint = f"did you mean {near[0]!r}?" if near else "see `pumpwatch config show`"
        return InvalidInput(".".join(path), f"there is no such setting{where}", hint)
    return InvalidInput(
        ".".join(path), f"{problem['msg'].lower()}{where}", "see `pumpwatch config show`"
    )


def _keys_beside(path: list[str]) -> list[str]:
    model: type[BaseModel] = Settings
    for part in path[:-1]:
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(model.model_fields)


_OTHER_VARIABLES = {
    "PUMPWATCH_DEBUG",
    "PUMPWATCH_SECRETS_DIR",
    "PUMPWATCH_FORBID_SKIPS",
    "PUMPWATCH_DEV_DATA",
}


def _refuse_unknown_environment() -> None:
    """A misspelt variable would be ignored in silence by the library."""
    for name in os.environ:
        if not name.startswith("PUMPWATCH_") or name.startswith("PUMPWATCH_EDGE_"):
            continue
        if name in _OTHER_VARIABLES:
            continue
        first = name.removeprefix("PUMPWATCH_").split("__")[0].lower()
        if first not in Settings.model_fields:
            near = difflib.get_close_matches(first, Settings.model_fields, n=1)
            hint = f"did you mean PUMPWATCH_{near[0].upper()}?" if near else "unset it"
            raise InvalidInput(name, "there is no such setting", hint)


def redacted(settings: Settings) -> dict[str, Any]:
    """All values as JSON-able data; secrets show as stars."""
    return settings.model_dump(mode="json")
