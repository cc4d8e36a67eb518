"""Models as files: arrays in ``.npz``, and a JSON card beside them that carries their digest."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import structlog
from numpy.typing import NDArray

from pumpwatch.domain.errors import InvalidInput, StoreUnavailable
from pumpwatch.domain.keys import ID_PATTERN, SiteKey, check_id
from pumpwatch.domain.ports import StoredModel

_FORMAT = 1

log = structlog.get_logger(__name__)


class FileShelf:
    """`ModelShelf` under ``folder``: ``{tenant}/{site}/{effective_ms}.npz`` and ``.json``.

    Both files are written beside, forced to disk and put in place by rename, the card last: a model
    without a card is not there. What is damaged, of another site, or does not match its digest is
    passed over with a line in the log, and the next older model serves. Nothing is ever unpickled;
    whether the numbers make sense is for the reader of the arrays to check.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, model: StoredModel) -> None:
        """Raises `InvalidInput` for what cannot be kept, `StoreUnavailable` when the disk refuses."""
        for name, array in model.arrays.items():
            if array.dtype.hasobject:
                raise InvalidInput(name, "holds Python objects", "keep numbers only")
        card = {
            "format": _FORMAT,
            "tenant": model.key.tenant,
            "site": model.key.site,
            "effective_ms": model.effective_ms,
            "sha256": _digest(model.arrays),
            "card": dict(model.card),
        }
        text = json.dumps(card, ensure_ascii=False, indent=1, allow_nan=False).encode()
        arrays = self._path(model.key, model.effective_ms)
        try:
            arrays.parent.mkdir(parents=True, exist_ok=True)
            _replace(arrays, lambda file: np.savez(file, allow_pickle=False, **model.arrays))
            _replace(arrays.with_suffix(".json"), lambda file: file.write(text))
        except OSError as error:
            raise StoreUnavailable(
                f"{arrays} cannot be written ({error})", "check the disk and its permissions"
            ) from error

    def effective(self, key: SiteKey, at_ms: int) -> StoredModel | None:
        for effective_ms in sorted(self._moments(key), reverse=True):
            if effective_ms <= at_ms:
                model = self._load(key, effective_ms)
                if model is not None:
                    return model
        return None

    def cards(self, key: SiteKey | None = None) -> list[tuple[SiteKey, int, Mapping[str, Any]]]:
        """By site, then time. A card that cannot be read is left out."""
        found = []
        for owner in self._keys() if key is None else [key]:
            for effective_ms in sorted(self._moments(owner)):
                try:
                    card = self._card(owner, effective_ms)
                except Exception as error:
                    _passed_over(self._path(owner, effective_ms), error)
                else:
                    found.append((owner, effective_ms, card["card"]))
        return found

    def _path(self, key: SiteKey, effective_ms: int) -> Path:
        tenant, site = check_id(key.tenant, "tenant"), check_id(key.site, "site")
        return self._folder / tenant / site / f"{effective_ms}.npz"

    def _keys(self) -> list[SiteKey]:
        return sorted(
            SiteKey(folder.parent.name, folder.name)
            for folder in self._folder.glob("*/*")
            if ID_PATTERN.fullmatch(folder.parent.name) and ID_PATTERN.fullmatch(folder.name)
        )

    def _moments(self, key: SiteKey) -> Iterator[int]:
        for path in self._path(key, 0).parent.glob("*.json"):
            if path.stem.removeprefix("-").isdecimal():
                yield int(path.stem)

    def _load(self, key: SiteKey, effective_ms: int) -> StoredModel | None:
        path = self._path(key, effective_ms)
        try:
            card = self._card(key, effective_ms)
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            if _digest(arrays) != card["sha256"]:
                raise ValueError("the arrays do not match the card's digest")
        except Exception as error:  # a damaged file makes zip and numpy raise anything
            _passed_over(path, error)
            return None
        return StoredModel(key, effective_ms, card["card"], arrays)

    def _card(self, key: SiteKey, effective_ms: int) -> dict[str, Any]:
        raw = self._path(key, effective_ms).with_suffix(".json").read_bytes()
        card: dict[str, Any] = json.loads(raw)
        if card["format"] != _FORMAT:
            raise ValueError(f"format {card['format']} is not {_FORMAT}")
        owner = SiteKey(card["tenant"], card["site"])
        if (owner, card["effective_ms"]) != (key, effective_ms):
            raise ValueError(f"it is a model of {owner} from {card['effective_ms']}")
        if not isinstance(card["card"], dict):
            raise TypeError("the card is no object")
        return card


def _digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 over names, types, shapes and bytes, whatever order the arrays came in."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _passed_over(path: Path, error: BaseException) -> None:
    log.warning("model passed over", path=str(path), reason=f"{type(error).__name__}: {error}")


def _replace(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Put a whole file in place or none: beside, to disk, rename, the folder to disk."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with beside.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
