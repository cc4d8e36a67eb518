"""Data files of recorded sites, written a day at a time and put in place whole."""

from __future__ import annotations

import gzip
import io
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from pumpwatch.domain.samples import Chunk
from pumpwatch.domain.signals import SIGNALS, SignalKind

Pack = Callable[[bytes], bytes]

FORMATS = ("csv", "csv.gz", "csv.xz", "parquet")


class DataFile:
    """One station's ``data.*``. Days are appended as they come; equal days give equal bytes.

    A compressed CSV file is a sequence of members, one a day: nothing large is held open, so that a
    fleet of any size can be written side by side.
    """

    def __init__(self, folder: Path, form: str) -> None:
        self._path = folder / f"data.{form}"
        self._pack = _PACKS.get(form)
        self._parquet: Any = None
        self._begun = False

    def append(self, chunk: Chunk) -> None:
        if not len(chunk):
            return
        if self._pack is None:
            table = _table(chunk, pa.array(chunk.t_ms, pa.timestamp("ms", tz="UTC")))
            if self._parquet is None:
                self._parquet = pa.parquet.ParquetWriter(
                    self._path, table.schema, compression="zstd"
                )
            self._parquet.write_table(table)
            return
        seconds = np.datetime_as_string(chunk.t_ms.astype("datetime64[ms]"), unit="s")
        table = _table(chunk, pa.array(np.char.add(seconds, "Z")))
        text = io.BytesIO()
        options = pa.csv.WriteOptions(
            include_header=not self._begun, quoting_style="none", quoting_header="none"
        )
        pa.csv.write_csv(table, text, options)
        with self._path.open("ab") as file:
            file.write(self._pack(text.getvalue()))
        self._begun = True

    def close(self) -> None:
        if self._parquet is not None:
            self._parquet.close()


_PACKS: dict[str, Pack] = {
    "csv": bytes,
    # no name and no time in the header: equal data, equal bytes
    "csv.gz": lambda data: gzip.compress(data, compresslevel=6, mtime=0),
    "csv.xz": lambda data: lzma.compress(data, preset=2),
}


def _table(chunk: Chunk, ts: Any) -> Any:
    columns = {
        name: values.astype(np.int8) if SIGNALS[name].kind is SignalKind.STATE else values
        for name, values in chunk.signals.items()
    }
    return pa.table({"ts": ts} | columns)
