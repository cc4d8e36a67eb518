"""All rows of one ledger into another, on whatever engine either is."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, func, insert, select

from pumpwatch.domain.errors import Conflict
from pumpwatch.stores.database import Database
from pumpwatch.stores.tables import audit, metadata

_ROWS_AT_ONCE = 1_000


def copy_all(
    source: Connection,
    target: Database,
    progress: Callable[[str, int], None] = lambda table, rows: None,
) -> dict[str, int]:
    """Write everything that ``source`` sees into the empty ``target``, in one transaction.

    Both are of the present schema. ``progress`` hears the table and how many of its rows are done.
    Returns the rows by table. Raises `Conflict` when the target holds anything; nothing was written.
    """
    copied = dict.fromkeys(metadata.tables, 0)
    with target.write() as connection:
        for table in metadata.sorted_tables:
            if connection.execute(select(table).limit(1)).first() is not None:
                raise Conflict(f"{target} is not empty ({table.name})", "give an empty database")
        for table in metadata.sorted_tables:
            found = source.execute(
                select(table),
                execution_options={"stream_results": True, "yield_per": _ROWS_AT_ONCE},
            )
            for rows in found.partitions():
                connection.execute(insert(table), [dict(row._mapping) for row in rows])
                copied[table.name] += len(rows)
                progress(table.name, copied[table.name])
        if not target.is_file:
            _count_on(connection)
    return copied


def _count_on(connection: Connection) -> None:
    """A server numbers by a sequence of its own, which has not seen the rows that were copied."""
    last = connection.execute(select(func.max(audit.c.id))).scalar()
    if last is not None:
        sequence = func.pg_get_serial_sequence(audit.name, audit.c.id.name)
        connection.execute(select(func.setval(sequence, last)))
