"""Ctrl-C, and a container phone with the real adbd: what goes on, what is left behind."""

import os
import signal
import subprocess
import sys
import time

import pytest

from android_harness import virtual
from android_harness.evidence import Fidelity
from android_harness.phones import connect
from android_harness.virtual.simulated.phone import SimulatedPhone
from device_bench.exits import Exit
from device_bench.store import opened

pytestmark = pytest.mark.device

ROOT = "/data/local/tmp/deploy-bench"


def stored_blocks(path) -> int:
    if not path.exists():
        return 0
    with opened(path) as store:
        benches = store.benches()
        phones = store.phones(benches[0].id) if benches else ()
        return sum(len(store.blocks(benches[0].id, phone.serial)) for phone in phones)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_bench_leaves_the_phone_clean_and_goes_on(
    how, bench, environment, tmp_path, slow_model, float_model
):
    with SimulatedPhone() as phone:
        arguments = (slow_model, float_model, "--phone", f"{phone.host}:{phone.port}")
        store = tmp_path / "out" / "bench.sqlite"
        command = [sys.executable, "-m", "device_bench.cli", "bench", *arguments]
        command += ["--blocks", "4", "--min-s", "1", "--out", tmp_path / "out"]
        running = subprocess.Popen(
            list(map(str, command)), env=environment, stderr=subprocess.PIPE, text=True
        )
        deadline_s = time.monotonic() + 120
        while stored_blocks(store) < 2 and time.monotonic() < deadline_s:
            time.sleep(0.2)
        running.send_signal(how)
        _, said = running.communicate(timeout=60)
        finished = stored_blocks(store)

        assert running.returncode == Exit.INTERRUPTED
        assert "goes on from there" in said
        assert "Traceback" not in said
        assert 2 <= finished < 8
        left = [path.name for path in phone.path(ROOT).iterdir()]
        assert left == ["cache"]

        ended = bench(*arguments, "--blocks", "4", "--min-s", "1")
        assert ended.exit_code == Exit.OK, ended.stderr
        assert "going on with" in ended.stderr
        assert len(ended.benches) == 1
        assert len(ended.blocks) == 8

        again = bench(*arguments, "--blocks", "4", "--min-s", "1")
        assert "going on with" not in again.stderr
        assert len(again.benches) == 2


def test_a_run_killed_after_its_last_block_is_closed_by_the_next_bench(bench, float_model):
    with SimulatedPhone() as phone:
        arguments = (float_model, "--phone", f"{phone.host}:{phone.port}")
        ended = bench(*arguments)
        with opened(ended.out / "bench.sqlite") as store:  # as a kill would have left it
            store.save(ended.benches[0].model_copy(update={"status": "open"}))
            store.save(ended.runs[0].model_copy(update={"status": "open"}))
        again = bench(*arguments)
    assert "going on with" in again.stderr
    assert [run.status for run in again.runs] == ["ok"]
    assert again.blocks == ended.blocks


@pytest.fixture
def container():
    if os.geteuid() != 0:
        pytest.skip("a container phone needs root")
    with virtual.start(Fidelity.CONTAINER, options=virtual.Options(data_mb=64)) as phone:
        yield phone


def test_a_real_adbd_gives_a_report_of_class_virtual(bench, container, float_model, int8_model):
    endpoint = f"{container.host}:{container.port}"
    ended = bench(float_model, int8_model, "--phone", endpoint)
    assert ended.exit_code == Exit.OK, ended.stderr
    assert "[virtual: container]" in ended.stdout
    assert all(run.check.parity[0].bit_identical for run in ended.runs)
    with connect(endpoint) as transport:
        assert transport.shell(f"ls {ROOT}", timeout_s=10).text.split() == ["cache"]


def test_clean_removes_everything_of_ours(bench, deploy_bench, container, float_model):
    endpoint = f"{container.host}:{container.port}"
    bench(float_model, "--phone", endpoint)
    assert deploy_bench("clean", "--phone", endpoint).exit_code == Exit.OK
    with connect(endpoint) as transport:
        assert transport.shell(f"ls -d {ROOT}", timeout_s=10).exit_code != 0


def test_a_full_phone_says_so(bench, container, float_model):
    container.control("head -c 60m /dev/zero > /data/local/tmp/full || true")
    ended = bench(float_model, "--phone", f"{container.host}:{container.port}")
    assert ended.exit_code == Exit.DEVICE
    assert "make room" in ended.runs[0].failures[-1].message


def test_a_phone_that_asks_for_keys_says_what_to_tap(bench, float_model):
    if os.geteuid() != 0:
        pytest.skip("a container phone needs root")
    nobody = virtual.Options(authorized_keys=())
    with virtual.start(Fidelity.CONTAINER, options=nobody) as locked:
        ended = bench(float_model, "--phone", f"{locked.host}:{locked.port}")
    assert ended.exit_code == Exit.NO_PHONE
    assert "Allow USB debugging" in ended.stderr


def test_a_phone_that_dies_in_a_run_is_a_hole(
    container, environment, tmp_path, slow_model, float_model
):
    store = tmp_path / "out" / "bench.sqlite"
    command = [sys.executable, "-m", "device_bench.cli", "bench", slow_model, float_model]
    command += ["--phone", f"{container.host}:{container.port}", "--blocks", "4", "--min-s", "1"]
    running = subprocess.Popen(
        [*map(str, command), "--out", str(tmp_path / "out")],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline_s = time.monotonic() + 120
    while stored_blocks(store) < 1 and time.monotonic() < deadline_s:
        time.sleep(0.2)
    container.stop()
    said, complained = running.communicate(timeout=120)
    assert running.returncode == Exit.DEVICE, complained
    assert "Traceback" not in complained
    assert "report:" in said
    assert stored_blocks(store) >= 1
