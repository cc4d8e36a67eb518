"""Backup and restore of a data directory: one archive of one moment, made while the hub runs.

The archive is a plain ``.tar.gz``. Its first member is the manifest; the others lie in it as they
lie in the directory.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

import msgspec

from pumpwatch import __version__
from pumpwatch.app.datadir import DataDir
from pumpwatch.app.hub import open_stores
from pumpwatch.app.ledger import ledger_url
from pumpwatch.app.settings import LedgerSettings
from pumpwatch.domain.errors import Conflict, NotFound, PumpwatchError
from pumpwatch.stores.database import Database
from pumpwatch.stores.ledger_copy import copy_all
from pumpwatch.stores.snapshot import check_whole, copy, facts, one_moment

FORMAT = 1
MANIFEST = "manifest.json"

Progress = Callable[[str, int, int], None]
"""Hears what is done, how many bytes of it, and of how many."""

_INBOX, _ROLLUPS, _MARK, _LOCK = "inbox.db", "rollups.db", "purpose", "hub.lock"
_NOT_OURS = {_LOCK, "lost+found"}
_LEFT_OUT = {*_NOT_OURS, "broker", "agents", "ledger_home"}
_NEEDED = {_INBOX, "core.db", _MARK}
_BLOCK = 1 << 20
_LARGEST_MANIFEST = 64 << 20
_LEVEL = 1
"""Of gzip: a quarter of the time of the default for a tenth more bytes."""
_DAMAGE = (
    EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError, msgspec.MsgspecError, ValueError,
)  # fmt: skip


class Member(msgspec.Struct, frozen=True):
    """One file of the archive."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What an archive holds. ``positions`` are inbox ids, ``rows`` counts by file and table."""

    format: int
    pumpwatch: str
    made_ms: int
    purpose: str
    positions: dict[str, int]
    rows: dict[str, dict[str, int]]
    owed: int
    """Notifications that had not been sent."""
    members: dict[str, Member]


def _silent(_what: str, _done: int, _of: int) -> None:
    pass


def _tell(progress: Progress, what: str, before: int, of: int, done: int) -> None:
    progress(what, before + done, of)


# -- create ----------------------------------------------------------------------------------------


def create(
    data_dir: Path,
    archive: Path,
    now_ms: int,
    progress: Progress = _silent,
    ledger: LedgerSettings | None = None,
) -> Manifest:
    """Write one archive of the directory as it is at this moment; a hub may be using it.

    A ledger on a server is in the archive as ``core.db``, like one that is in the directory itself.
    There is a whole archive at ``archive`` afterwards, or what was there before. Room for the
    uncompressed files is needed beside it meanwhile. Raises `PumpwatchError` or `OSError`.
    """
    directory = DataDir(data_dir)
    if directory.purpose() is None:
        raise NotFound(f"{data_dir} holds no data", "name another with --data-dir")
    server = ledger_url(directory, ledger)
    away = server != directory.core_url
    for name in _NEEDED - ({directory.core.name} if away else set()):
        if not (data_dir / name).is_file():
            raise NotFound(f"{data_dir / name} is missing", "start the hub once, it makes it anew")
    if archive.is_dir():
        raise Conflict(f"{archive} is a directory", "name the file to write")
    with _beside(archive) as work:
        files = work / "files"
        files.mkdir()
        fetch = partial(_fetch_ledger, server, files / directory.core.name, progress)
        _take(data_dir, files, progress, fetch if away else None)
        manifest = _describe(files, now_ms, progress)
        whole = work / "archive"
        whole.touch(mode=0o600)
        with whole.open("wb") as file:
            _pack(file, files, manifest, progress)
            file.flush()
            os.fsync(file.fileno())
        whole.replace(archive)
        _settle_folder(archive.parent)
    return manifest


def _take(
    data_dir: Path, files: Path, progress: Progress, fetch_ledger: Callable[[], None] | None
) -> None:
    """Databases first, of one moment; then the files that are only ever put in place by rename, which
    are at least as new: a model more does no harm, one that is referred to must be there, and a row
    that was sealed meanwhile is in both, which reads as one."""
    apart = {_INBOX, DataDir(data_dir).core.name if fetch_ledger else ""}
    # which days are to be added up is noted before their rows are written: so it is read after them
    consumers = sorted(
        (p for p in data_dir.glob("*.db") if p.name not in apart),
        key=lambda p: (p.name == _ROLLUPS, p.name),
    )
    with one_moment(consumers, data_dir / _INBOX, fetch_ledger or (lambda: None)) as readers:
        for path, reader in readers.items():
            tell = partial(_tell, progress, path.name, 0, path.stat().st_size)
            copy(reader, files / path.name, tell)
    for path in _others(data_dir):
        target = files / path.relative_to(data_dir)
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # forgotten meanwhile
            _link_or_copy(path, target)


def _link_or_copy(path: Path, target: Path) -> None:
    """A sealed file is never written to again, so on the same disk a second name for it is enough."""
    if path.suffix == ".parquet":
        with suppress(OSError):
            target.hardlink_to(path)
            return
    shutil.copyfile(path, target)


def _fetch_ledger(server: str, file: Path, progress: Progress) -> None:
    """The rows of one moment on the server as a SQLite ledger of the same schema."""
    progress("ledger", 0, 1)
    file.unlink(missing_ok=True)
    with closing(Database(server, migrate=False)) as origin:
        if origin.version() != origin.newest():
            raise PumpwatchError(
                f"{origin} has revision {origin.version()}, not {origin.newest()}",
                "upgrade it first with: pumpwatch ledger upgrade",
            )
        with closing(Database(f"sqlite:///{file}")) as target, origin.read() as rows:
            copy_all(rows, target)
    file.with_name(f"{file.name}.lock").unlink()
    progress("ledger", 1, 1)


def _others(data_dir: Path) -> Iterator[Path]:
    for entry in sorted(data_dir.iterdir()):
        if entry.name in _LEFT_OUT or entry.name.startswith(".") or ".db" in entry.name:
            continue
        inside = sorted(entry.rglob("*")) if entry.is_dir() else [entry]
        yield from (p for p in inside if p.is_file() and not p.name.startswith("."))


def _describe(files: Path, now_ms: int, progress: Progress) -> Manifest:
    paths = sorted(p for p in files.rglob("*") if p.is_file())
    total, done = sum(p.stat().st_size for p in paths), 0
    members = {}
    for path in paths:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = path.stat().st_size
        members[path.relative_to(files).as_posix()] = Member(size, digest)
        done += size
        progress("digests", done, total)
    found = {path.name: facts(path) for path in sorted(files.glob("*.db"))}
    return Manifest(
        FORMAT,
        __version__,
        now_ms,
        DataDir(files).purpose() or "",
        {name: told.position for name, told in found.items() if told.position is not None},
        {name: told.rows for name, told in found.items()},
        sum(told.owed for told in found.values()),
        members,
    )


def _pack(file: IO[bytes], files: Path, manifest: Manifest, progress: Progress) -> None:
    """The manifest first, so that who reads the archive knows what must come."""
    total, done = sum(member.bytes for member in manifest.members.values()), 0
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    with (
        gzip.GzipFile("", "wb", _LEVEL, file, manifest.made_ms / 1000) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        tar.addfile(_entry(MANIFEST, len(text), manifest), io.BytesIO(text))
        for name, member in manifest.members.items():
            with (files / name).open("rb") as content:
                entry = _entry(name, member.bytes, manifest)
                tell = partial(_tell, progress, "packing", done, total)
                tar.addfile(entry, _Told(content, tell))
            done += member.bytes


def _entry(name: str, size: int, manifest: Manifest) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, 0o640, manifest.made_ms // 1000
    return entry


class _Told:
    """A file that says how much of it was read."""

    def __init__(self, file: IO[bytes], tell: Callable[[int], None]) -> None:
        self._file, self._tell, self._done = file, tell, 0

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        self._done += len(block)
        self._tell(self._done)
        return block


@contextmanager
def _beside(archive: Path) -> Iterator[Path]:
    """A private folder on the archive's own disk, gone afterwards whatever happens."""
    with tempfile.TemporaryDirectory(
        prefix=f".{archive.name}.", dir=archive.absolute().parent
    ) as folder:
        yield Path(folder)


def _settle_folder(folder: Path) -> None:
    """A rename in it is on disk when this returns."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


# -- verify and restore ----------------------------------------------------------------------------


def verify(archive: Path, progress: Progress = _silent) -> Manifest:
    """Unpack the archive beside itself, check everything `restore` would, and throw it away.

    Raises `PumpwatchError` with what is wrong with it.
    """
    with _beside(archive) as work:
        return _unpack(archive, work, progress)


def restore(archive: Path, data_dir: Path, progress: Progress = _silent) -> Manifest:
    """Make the directory from the archive, which is checked first. Raises `PumpwatchError`.

    The directory must be new or empty. It may be a mount of its own, so everything is unpacked and
    checked inside it and then renamed into place, the inbox first and the mark of its purpose last:
    a hub takes no directory that has the one without the other.
    """
    if data_dir.exists() and not data_dir.is_dir():
        raise Conflict(f"{data_dir} is a file", "give a directory with --data-dir")
    there = [p.name for p in data_dir.iterdir()] if data_dir.is_dir() else None
    if set(there or ()) - _NOT_OURS:
        raise Conflict(
            f"{data_dir} is not empty", "restore into an empty directory; nothing is ever replaced"
        )
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
    try:
        with DataDir(data_dir).locked(), _beside(data_dir / "restoring") as work:
            manifest = _unpack(archive, work, progress)
            for folder in (p for p in work.rglob("*") if p.is_dir()):
                _settle_folder(folder)
            names = sorted(
                (p.name for p in work.iterdir()), key=lambda n: (n == _MARK, n != _INBOX)
            )
            for name in names:
                if name == _MARK:
                    _settle_folder(data_dir)
                (work / name).replace(data_dir / name)
            _settle_folder(data_dir)
    except BaseException:
        if not there:
            (data_dir / _LOCK).unlink(missing_ok=True)
        if there is None:
            with suppress(OSError):
                data_dir.rmdir()
        raise
    return manifest


def _unpack(archive: Path, folder: Path, progress: Progress) -> Manifest:
    """Everything of a sound archive is in the folder and on disk; of another one, anything."""
    try:
        with archive.open("rb") as file:
            manifest = _read(file, folder, progress)
    except _DAMAGE as error:
        raise _damaged(archive, f"{type(error).__name__}: {error}") from error
    databases = sorted(folder.glob("*.db"))
    try:
        for number, path in enumerate(databases):
            progress("checking", number, len(databases))
            check_whole(path)
        _check_positions(folder, manifest)
        open_stores(DataDir(folder)).close()
    except PumpwatchError as error:
        problem = error.problem.replace(f"{folder}/", "")
        raise PumpwatchError(f"{archive}: {problem}", error.remedy) from error
    progress("checking", len(databases), len(databases))
    return manifest


def _read(file: IO[bytes], folder: Path, progress: Progress) -> Manifest:
    with gzip.GzipFile(fileobj=file) as stream:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            manifest = _read_manifest(tar)
            missing = dict(manifest.members)
            total, done = sum(member.bytes for member in missing.values()), 0
            while (entry := tar.next()) is not None:
                member = missing.pop(entry.name, None)
                content = tar.extractfile(entry) if entry.isreg() else None
                if member is None or content is None or entry.size != member.bytes:
                    raise ValueError(f"{entry.name} is not what the manifest says")
                _write(content, folder / _safe(entry.name), member.sha256)
                done += member.bytes
                progress("unpacking", done, total)
            if missing:
                raise ValueError(f"{min(missing)} is missing")
        while stream.read(_BLOCK):  # to the checksum at its end
            pass
    return manifest


def _read_manifest(tar: tarfile.TarFile) -> Manifest:
    first = tar.next()
    content = tar.extractfile(first) if first is not None and first.isreg() else None
    if first is None or content is None or first.name != MANIFEST:
        raise ValueError("it does not begin with a manifest")
    text = content.read(_LARGEST_MANIFEST)
    told = msgspec.json.decode(text, type=_Version)
    if told.format > FORMAT:
        raise PumpwatchError(
            f"the archive has format {told.format}, made by pumpwatch {told.pumpwatch}; this one"
            f" reads up to {FORMAT}",
            "install that version, or a newer one",
        )
    manifest = msgspec.json.decode(text, type=Manifest)
    if lacking := _NEEDED - manifest.members.keys():
        raise ValueError(f"{min(lacking)} is not in the manifest")
    return manifest


class _Version(msgspec.Struct):
    format: int
    pumpwatch: str


def _safe(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or name == _LOCK:
        raise ValueError(f"{name} would be written elsewhere")
    return path


def _write(content: IO[bytes], path: Path, sha256: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    digest = hashlib.sha256()
    path.touch(mode=0o640, exist_ok=False)
    with path.open("wb") as file:
        while block := content.read(_BLOCK):
            digest.update(block)
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    if digest.hexdigest() != sha256:
        raise ValueError(f"{path.name} does not match its digest")


def _check_positions(folder: Path, manifest: Manifest) -> None:
    """No consumer may have seen what the inbox does not know."""
    found = {path.name: facts(path).position for path in folder.glob("*.db")}
    last = found[_INBOX] or 0
    ahead = {name for name, at in found.items() if at is not None and at > last}
    if ahead:
        raise PumpwatchError(f"{min(ahead)} is ahead of the inbox", "use another backup")
    if {name: at for name, at in found.items() if at is not None} != manifest.positions:
        raise PumpwatchError("the positions are not those of the manifest", "use another backup")


def _damaged(archive: Path, why: str) -> PumpwatchError:
    return PumpwatchError(f"{archive} is damaged or no backup ({why})", "use another backup")
