"""What the harness itself costs: every figure beside its peer, alternating, in one run.

Run by ``make bench-harness``; prints a table and writes out/bench-harness.md. Machines are
shared and noisy: read the ratios, not the seconds.
"""

import argparse
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from android_harness import phones, virtual
from android_harness.evidence import Fidelity
from android_harness.parse.runner import RunnerReport, parse_runner
from android_harness.runner.bundle import Bundle, build_bundle, host_abi
from android_harness.runner.host import run_on_host
from android_harness.runner.options import RunnerOptions
from device_bench.store import opened

OUT = Path("out")
PUSH_BYTES = 100_000_000
# A block of one process moves by 10 % on a shared machine; the median of this many pairs by 2-3 %.
LATENCY_ROUNDS = 16
REMOTE = "/data/local/tmp/bench-harness.bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table."""

    what: str
    ours: str
    peer: str
    ratio: str


def main() -> None:
    """Measure everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="alternations of each pair")
    parser.add_argument("--recipe", default="mobilenet_v2", help="model for the latency pair")
    asked = parser.parse_args()
    rows = [
        session_overhead(asked.recipe),
        *transfers(asked.rounds),
        *interpreter_pairs(asked.recipe),
        help_time(asked.rounds),
        cached_build(asked.recipe),
    ]
    table = render(rows)
    OUT.mkdir(exist_ok=True)
    (OUT / "bench-harness.md").write_text(table, encoding="utf-8")
    sys.stdout.write(table)


def session_overhead(recipe: str) -> Row:
    """Wall time of measuring on the phone over the time that the phone spent in inference."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["run", recipe, "--virtual", "container", "--out", folder, "--quiet"]
        subprocess.run([*_deploy_bench(), *command], check=True, capture_output=True)
        with opened(Path(folder) / "bench.sqlite") as store:
            bench = store.benches()[0]
            visit = store.phones(bench.id)[0]
            documents = [block.runner for block in store.blocks(bench.id, visit.serial)]
    wall_s = sum(t.seconds for t in bench.timings if t.step == "measure on phones")
    reports = [found for text in documents if isinstance(found := parse_runner(text), RunnerReport)]
    busy_s = sum(r.timed.wall_ns + r.warmup.wall_ns + r.first_ns for r in reports) / 1e9
    return Row(
        what=f"session on the container phone, {len(reports)} blocks of {recipe}",
        ours=f"{wall_s:.1f} s wall",
        peer=f"{busy_s:.1f} s in inference",
        ratio=f"{wall_s / busy_s:.2f}",
    )


def transfers(rounds: int) -> list[Row]:
    """100 MB to the same adbd and back: our transport and Debian's adb, alternating."""
    adb = shutil.which("adb")
    if adb is None:
        return [Row(what="push 100 MB", ours="-", peer="adb is not installed", ratio="-")]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        phone = stack.enter_context(virtual.start(Fidelity.CONTAINER))
        endpoint = f"{phone.host}:{phone.port}"
        transport = stack.enter_context(phones.connect(endpoint))
        run_adb = stack.enter_context(_adb_server(adb, endpoint))
        source, back = folder / "source", folder / "back"
        source.write_bytes(secrets.token_bytes(PUSH_BYTES))
        push = partial(transport.push, source, REMOTE, timeout_s=120)
        pull = partial(transport.pull, REMOTE, back, timeout_s=120, max_bytes=2 * PUSH_BYTES)
        pairs = {
            "push 100 MB": (push, partial(run_adb, "push", str(source), REMOTE)),
            "pull 100 MB": (pull, partial(run_adb, "pull", REMOTE, str(back))),
        }
        return [
            _speeds(what, alternate(rounds, partial(_timed, ours), partial(_timed, peer)))
            for what, (ours, peer) in pairs.items()
        ]


def interpreter_pairs(recipe: str) -> list[Row]:
    """p50 of the runner on this host and of ai-edge-litert's Python interpreter, alternating."""
    from android_harness.places import VARIANTS
    from pipeline.artifact import load_artifacts

    bundle = build_bundle(host_abi())
    rows = []
    for artifact in load_artifacts(VARIANTS / recipe):
        if artifact.format not in ("float32", "int8"):
            continue
        model = artifact.model_path
        ours, peer = alternate(
            LATENCY_ROUNDS, partial(_runner_p50_us, bundle, model), partial(_python_p50_us, model)
        )
        ratio = statistics.median(a / b for a, b in zip(ours, peer, strict=True))
        rows.append(
            Row(
                what=f"p50 of {recipe} {artifact.format}, 1 thread, this host",
                ours=f"{statistics.median(ours):.0f} µs",
                peer=f"{statistics.median(peer):.0f} µs (Python interpreter)",
                ratio=f"{ratio:.3f}; fastest blocks {min(ours) / min(peer):.3f}",
            )
        )
    return rows


def help_time(rounds: int) -> Row:
    """Wall time of ``deploy-bench --help``."""
    seconds = [_timed(lambda: _run([*_deploy_bench(), "--help"])) for _ in range(rounds)]
    bare = [_timed(lambda: _run([sys.executable, "-c", "pass"])) for _ in range(rounds)]
    return Row(
        what="deploy-bench --help",
        ours=f"{statistics.median(seconds):.2f} s",
        peer=f"{statistics.median(bare):.2f} s (Python alone)",
        ratio=f"{statistics.median(seconds) / statistics.median(bare):.1f}",
    )


def cached_build(recipe: str) -> Row:
    """Wall time of the build half when nothing has changed."""
    _run([*_deploy_bench(), "build", recipe, "--quiet"])
    seconds = _timed(lambda: _run([*_deploy_bench(), "build", recipe, "--quiet"]))
    return Row(
        what=f"build {recipe}, nothing changed", ours=f"{seconds:.2f} s", peer="-", ratio="-"
    )


def alternate(
    rounds: int, ours: Callable[[], float], peer: Callable[[], float]
) -> tuple[list[float], list[float]]:
    """What both give, A B, B A, A B ..., after one uncounted round.

    Swapping the order keeps whoever comes second from always meeting a warmer machine.
    """
    results: tuple[list[float], list[float]] = ([], [])
    calls = (ours, peer)
    for number in range(rounds + 1):
        for index in (0, 1) if number % 2 else (1, 0):
            value = calls[index]()
            if number:
                results[index].append(value)
    return results


def render(rows: list[Row]) -> str:
    """The table as Markdown."""
    head = ["| what | deploy-bench | beside it | ratio |", "|---|---|---|---|"]
    return (
        "\n".join([*head, *(f"| {r.what} | {r.ours} | {r.peer} | {r.ratio} |" for r in rows)])
        + "\n"
    )


def _speeds(what: str, seconds: tuple[list[float], list[float]]) -> Row:
    ours, peer = ([PUSH_BYTES / 1e6 / s for s in group] for group in seconds)
    ratio = statistics.median(a / b for a, b in zip(ours, peer, strict=True))
    return Row(
        what=what,
        ours=f"{statistics.median(ours):.0f} MB/s",
        peer=f"{statistics.median(peer):.0f} MB/s (adb)",
        ratio=f"{ratio:.2f}",
    )


def _runner_p50_us(bundle: Bundle, model: Path) -> float:
    report = run_on_host(bundle, model, RunnerOptions(min_runs=100, min_s=1.0))
    return statistics.median(report.latency_us)


def _python_p50_us(model: Path) -> float:
    """Median latency in a fresh Python process, after the same warm-up."""
    code = (
        "import sys,time,statistics,numpy as np\n"
        "from ai_edge_litert.interpreter import Interpreter\n"
        "i=Interpreter(model_path=sys.argv[1],num_threads=1);i.allocate_tensors()\n"
        "d=i.get_input_details()[0];n=np.random.default_rng(1)\n"
        "x=n.integers(-128,127,d['shape']) if d['dtype']!=np.float32 else n.random(d['shape'])\n"
        "i.set_tensor(d['index'],x.astype(d['dtype']))\n"
        "e=time.perf_counter()+0.3\n"
        "while time.perf_counter()<e:i.invoke()\n"
        "t=[];e=time.perf_counter()+1\n"
        "while time.perf_counter()<e or len(t)<200:\n"
        " a=time.perf_counter_ns();i.invoke();t.append(time.perf_counter_ns()-a)\n"
        "print(statistics.median(t)/1000)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(model)], check=True, capture_output=True, text=True
    )
    return float(done.stdout)


@contextmanager
def _adb_server(adb: str, endpoint: str) -> Iterator[Callable[..., None]]:
    """An adb server of our own, so that a developer's is left alone."""
    environment = {**os.environ, "ANDROID_ADB_SERVER_PORT": "15037"}

    def run(*arguments: str) -> None:
        command = [adb, "-s", endpoint, *arguments]
        subprocess.run(command, check=True, capture_output=True, env=environment)

    subprocess.run([adb, "connect", endpoint], check=True, capture_output=True, env=environment)
    try:
        yield run
    finally:
        subprocess.run([adb, "kill-server"], check=False, capture_output=True, env=environment)


def _deploy_bench() -> list[str]:
    return [sys.executable, "-m", "device_bench.cli"]


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _timed(call: Callable[[], object]) -> float:
    started_s = time.monotonic()
    call()
    return time.monotonic() - started_s


if __name__ == "__main__":
    main()
