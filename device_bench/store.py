"""The store: benches, phone visits, runs and blocks in SQLite, each written when it ends.

One file, write-ahead log, no set-up. The documents are kept as the JSON of their record; the
columns beside them are only what is looked up.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.dialects.sqlite import insert

from android_harness.filelock import locked
from device_bench.errors import StoreError
from device_bench.record import Bench, Block, PhoneVisit, Run

SCHEMA_VERSION = 1
# A second process that writes at the same moment is waited for this long.
BUSY_TIMEOUT_S = 30.0

_META = sa.MetaData()
_BENCHES = sa.Table(
    "bench",
    _META,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("key", sa.String, index=True, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("created_at_utc", sa.String, nullable=False),
    sa.Column("document", sa.Text, nullable=False),
)
_PHONES = sa.Table(
    "phone",
    _META,
    sa.Column("bench", sa.ForeignKey("bench.id"), primary_key=True),
    sa.Column("serial", sa.String, primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("document", sa.Text, nullable=False),
)
_RUNS = sa.Table(
    "run",
    _META,
    sa.Column("bench", sa.ForeignKey("bench.id"), primary_key=True),
    sa.Column("serial", sa.String, primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("document", sa.Text, nullable=False),
)
_BLOCKS = sa.Table(
    "block",
    _META,
    sa.Column("bench", sa.ForeignKey("bench.id"), primary_key=True),
    sa.Column("serial", sa.String, primary_key=True),
    sa.Column("run", sa.String, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
)

_Record = TypeVar("_Record", bound=BaseModel)


class Store:
    """One SQLite file. Each ``save`` is a transaction of its own: what returned is kept."""

    def __init__(self, path: Path) -> None:
        """Open or make the store.

        Raises:
            StoreError: not a database, from a newer deploy-bench, or the folder is not writable.
        """
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._engine = sa.create_engine(
                f"sqlite:///{path}", connect_args={"timeout": BUSY_TIMEOUT_S}
            )
            lock = path.with_name(f"{path.name}.lock")
            with locked(lock, "opening the store"), self._engine.begin() as db:
                _prepare(db, path)
        except (sa.exc.DatabaseError, OSError) as exc:
            cause = exc.orig if isinstance(exc, sa.exc.DBAPIError) else exc
            raise StoreError(path, f"cannot be opened: {cause}") from exc

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    def save(self, record: Bench | PhoneVisit | Run | Block) -> None:
        """Write a record, in place of the one with the same identity.

        Raises:
            StoreError: disk full or locked; the earlier content is whole.
        """
        table, keys = _row(record)
        values = {**keys, "document": record.model_dump_json()}
        statement = insert(table).values(**values)
        primary = [column.name for column in table.primary_key]
        try:
            with self._engine.begin() as db:
                db.execute(statement.on_conflict_do_update(index_elements=primary, set_=values))
        except sa.exc.DBAPIError as exc:
            raise StoreError(self.path, f"{exc.orig}") from exc

    def benches(self) -> tuple[Bench, ...]:
        """All benches, newest first."""
        order = (_BENCHES.c.created_at_utc.desc(), _BENCHES.c.id.desc())
        return tuple(self._read(Bench, sa.select(_BENCHES.c.document).order_by(*order)))

    def bench(self, bench: str) -> Bench | None:
        """One bench by id."""
        query = sa.select(_BENCHES.c.document).where(_BENCHES.c.id == bench)
        return next(self._read(Bench, query), None)

    def open_bench(self, key: str) -> Bench | None:
        """The newest bench of the same key that was not completed."""
        query = (
            sa.select(_BENCHES.c.document)
            .where(_BENCHES.c.key == key, _BENCHES.c.status == "open")
            .order_by(_BENCHES.c.created_at_utc.desc())
        )
        return next(self._read(Bench, query), None)

    def phones(self, bench: str) -> tuple[PhoneVisit, ...]:
        """The phones of a bench, in order."""
        query = sa.select(_PHONES.c.document).where(_PHONES.c.bench == bench)
        return tuple(self._read(PhoneVisit, query.order_by(_PHONES.c.position)))

    def runs(self, bench: str, serial: str) -> tuple[Run, ...]:
        """The runs of a phone, in order."""
        query = sa.select(_RUNS.c.document).where(_RUNS.c.bench == bench, _RUNS.c.serial == serial)
        return tuple(self._read(Run, query.order_by(_RUNS.c.position)))

    def blocks(self, bench: str, serial: str, run: str | None = None) -> tuple[Block, ...]:
        """The blocks of a phone (of one run, when named), by number."""
        query = sa.select(_BLOCKS.c.document).where(
            _BLOCKS.c.bench == bench, _BLOCKS.c.serial == serial
        )
        if run is not None:
            query = query.where(_BLOCKS.c.run == run)
        return tuple(self._read(Block, query.order_by(_BLOCKS.c.run, _BLOCKS.c.number)))

    def _read(self, kind: type[_Record], query: sa.Select[Any]) -> Iterator[_Record]:
        with self._engine.connect() as db:
            documents = [row[0] for row in db.execute(query)]
        for document in documents:
            yield kind.model_validate_json(document)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Store]:
    """A store that is closed at the end."""
    store = Store(path)
    try:
        yield store
    finally:
        store.close()


def _row(record: Bench | PhoneVisit | Run | Block) -> tuple[sa.Table, dict[str, object]]:
    match record:
        case Bench():
            return _BENCHES, record.model_dump(include={"id", "key", "status", "created_at_utc"})
        case PhoneVisit():
            return _PHONES, record.model_dump(include={"bench", "serial", "position"})
        case Run():
            columns = record.model_dump(include={"bench", "serial", "position"})
            return _RUNS, {**columns, "name": record.name}
        case Block():
            return _BLOCKS, record.model_dump(include={"bench", "serial", "run", "number"})


def _prepare(db: sa.Connection, path: Path) -> None:
    """Make or check the tables; under a lock, since switching to WAL waits for nobody."""
    db.exec_driver_sql("PRAGMA journal_mode=WAL")
    version = int(db.exec_driver_sql("PRAGMA user_version").scalar_one())
    if version > SCHEMA_VERSION:
        raise StoreError(path, f"has schema {version}; this deploy-bench knows {SCHEMA_VERSION}")
    if version == 0:
        _META.create_all(db)
        db.exec_driver_sql(f"PRAGMA user_version={SCHEMA_VERSION}")
