"""Tables that leave the house as files: Parquet, or CSV, plain or compressed.

A table comes in pieces, the newest first, and goes out oldest first with the columns of all of them:
pieces wait in a scratch folder on disk, so memory holds one at a time.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import IO, Any, Literal, cast, get_args

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

Form = Literal["parquet", "csv", "csv.gz"]
FORMS: tuple[Form, ...] = get_args(Form)
TIME = pa.timestamp("ms", tz="UTC")


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was made: its rows, and its columns with their units ('' where there is none)."""

    path: Path
    rows: int
    columns: Mapping[str, str]


class TableFile:
    """One table to be: `add` pieces, newest first, then `write` them.

    ``order`` names the columns that come first; others follow by name. ``units`` are the columns'
    units, in a Parquet file the metadata ``unit`` of each field. ``about`` becomes its own metadata.
    """

    def __init__(
        self,
        scratch: Path,
        order: Sequence[str],
        units: Mapping[str, str],
        about: Mapping[str, str],
    ) -> None:
        scratch.mkdir(parents=True)
        self._scratch, self._order, self._units, self._about = scratch, order, units, about
        self._pieces: list[Path] = []
        self._types: dict[str, Any] = {}
        self.rows = 0

    def add(self, columns: Mapping[str, Any]) -> None:
        """Keep a piece: arrays of one length, of NumPy or Arrow. NaN is a value that is not there."""
        piece = pa.table(
            {n: v if isinstance(v, pa.Array) else pa.array(v, from_pandas=True) for n, v in columns.items()}
        )  # fmt: skip
        if not piece.num_rows:
            return
        self._types |= {field.name: field.type for field in piece.schema}
        self.rows += piece.num_rows
        path = self._scratch / f"{len(self._pieces)}.arrow"
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, piece.schema, options=options) as out:  # fmt: skip
            out.write_table(piece)
        self._pieces.append(path)

    def write(self, folder: Path, name: str, form: Form) -> Written | None:
        """Write ``folder/name.form``; nothing, and None, when there is not one row."""
        if not self.rows:
            return None
        path, schema = folder / f"{name}.{form}", self._schema()
        if form == "parquet":
            with pa.parquet.ParquetWriter(path, schema, compression="zstd") as out:
                for piece in self._in_order(schema):
                    out.write_table(piece)
        else:
            with ExitStack() as stack:
                self._write_csv(_stream(path, stack), schema)
        return Written(path, self.rows, {field.name: _unit(field) for field in schema})

    def _schema(self) -> Any:
        first = [name for name in self._order if name in self._types]
        names = [*first, *sorted(self._types.keys() - set(first))]
        fields = [
            pa.field(name, self._types[name], metadata={"unit": self._units.get(name, "")})
            for name in names
        ]
        return pa.schema(fields, metadata=dict(self._about))

    def _in_order(self, schema: Any) -> Iterator[Any]:
        for path in reversed(self._pieces):
            with pa.memory_map(str(path)) as file:
                piece = pa.ipc.open_file(file).read_all()
            missing = pa.nulls(piece.num_rows)
            has = set(piece.schema.names)
            yield pa.table(
                [
                    piece[field.name] if field.name in has else missing.cast(field.type)
                    for field in schema
                ],
                schema=schema,
            )

    def _write_csv(self, out: IO[bytes], schema: Any) -> None:
        header = StringIO()
        csv.writer(header, lineterminator="\n").writerow(schema.names)
        out.write(header.getvalue().encode())
        words = any(pa.types.is_string(kind) for kind in schema.types)
        options = pa.csv.WriteOptions(
            include_header=False, quoting_style="needed" if words else "none"
        )
        for piece in self._in_order(schema):
            pa.csv.write_csv(_spelled(piece), out, options)


def moments(t_ms: Sequence[int | None] | NDArray[np.int64]) -> Any:
    """A column of moments; None is one that did not come."""
    return pa.array(t_ms, TIME)


def _spelled(piece: Any) -> Any:
    """The same with its moments in ISO 8601."""
    columns = [
        pa.array(_iso(column)) if column.type == TIME else column for column in piece.columns
    ]
    return pa.table(columns, names=piece.schema.names)


def _iso(column: Any) -> list[str | None]:
    t_ms = column.cast(pa.int64())
    whole = t_ms.fill_null(0).to_numpy().astype("datetime64[ms]")
    told = np.char.add(np.datetime_as_string(whole, unit="ms"), "Z").tolist()
    return [text if there else None for text, there in zip(told, column.is_valid().to_pylist(), strict=True)]  # fmt: skip


def _unit(field: Any) -> str:
    return str(field.metadata[b"unit"].decode())


def _stream(path: Path, stack: ExitStack) -> IO[bytes]:
    raw = stack.enter_context(path.open("wb"))
    if path.suffix != ".gz":
        return raw
    # no name and no time in the header: equal data, equal bytes
    zipped = gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0)
    return cast("IO[bytes]", stack.enter_context(zipped))
