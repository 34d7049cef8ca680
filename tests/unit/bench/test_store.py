import multiprocessing
import sqlite3
import threading

import pytest

from device_bench.errors import StoreError
from device_bench.store import Store, opened
from tests.factories import make_artifact, make_bench, make_block, make_run, make_visit


@pytest.fixture
def store(tmp_path):
    with opened(tmp_path / "deep" / "bench.sqlite") as found:
        yield found


def test_what_was_saved_comes_back(store, tmp_path):
    run = make_run(make_artifact(tmp_path / "a"))
    block = make_block(run, 0, [10.0, 12.0])
    for record in (make_bench(), make_visit(), run, block):
        store.save(record)
    assert store.benches() == (make_bench(),)
    assert store.phones(run.bench) == (make_visit(),)
    # The artifact's folder is a place on this host, no part of what is stored.
    assert [r.model_dump_json() for r in store.runs(run.bench, run.serial)] == [
        run.model_dump_json()
    ]
    assert store.blocks(run.bench, run.serial, run.name) == (block,)
    assert store.blocks(run.bench, run.serial) == (block,)


def test_a_record_takes_the_place_of_its_earlier_self(store):
    store.save(make_bench())
    store.save(make_bench(status="complete"))
    assert [bench.status for bench in store.benches()] == ["complete"]
    assert store.open_bench("k") is None


def test_only_an_open_bench_of_the_same_key_is_gone_on_with(store):
    store.save(make_bench())
    assert store.open_bench("k") == make_bench()
    assert store.open_bench("other") is None


def test_unknown_bench_is_none(store):
    assert store.bench("nope") is None


def test_two_stores_write_at_the_same_time(tmp_path):
    path = tmp_path / "bench.sqlite"
    Store(path).close()

    def write(name):
        with opened(path) as own:
            for number in range(20):
                own.save(make_bench(id=f"{name}-{number}"))

    threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with opened(path) as own:
        assert len(own.benches()) == 60


def _opens(path, barrier):
    barrier.wait()
    Store(path).close()


def test_many_processes_make_the_same_store(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(4)
    arguments = (tmp_path / "bench.sqlite", barrier)
    processes = [context.Process(target=_opens, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]


def test_a_newer_store_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "bench.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="schema 99"):
        Store(path)
    assert path.read_bytes()[96:] == before[96:]


def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "bench.sqlite"
    path.write_text("not a database, but long enough to be read as one" * 40)
    with pytest.raises(StoreError, match="not a database"):
        Store(path)
