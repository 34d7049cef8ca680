"""A whole bench: variants and phones in, a stored bench out; the orchestration beside the CLI."""

import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from threading import Event, Lock
from typing import final

from android_harness.errors import HarnessError, NoPhone, WrongAbi
from android_harness.evidence import Fidelity
from android_harness.phone import Phone
from android_harness.runner import bundle as bundles
from device_bench.identify import identity_of
from device_bench.measure import PhoneBench, Told
from device_bench.progress import Progress
from device_bench.record import Bench, Identity, PhoneVisit, Protocol, Run
from device_bench.stopwatch import Stopwatch
from device_bench.store import Store
from device_bench.targets import Selection, Target, selected
from device_bench.variants import Variants


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Ready:
    """A phone that answered, with the runner that fits it."""

    target: Target
    identity: Identity
    transport: str
    bundle: bundles.Bundle


def measure(
    variants: Sequence[Variants],
    selection: Selection,
    protocol: Protocol,
    store: Store,
    progress: Progress,
    watch: Stopwatch,
) -> Bench:
    """Run every variant on every phone and store it; go on with an interrupted bench.

    Returns:
        the stored bench, complete.

    Raises:
        NoPhone: none can be used.
        KeyboardInterrupt: stopped; what was finished is stored and the next call goes on.
    """
    with ExitStack() as stack:
        with watch.step("start phones"):
            targets = stack.enter_context(selected(selection, progress.line))
        with watch.step("prepare phones"):
            ready = _prepare(targets, progress)
        bench = _open(variants, ready, protocol, store, progress)
        stop = Event()
        works = [
            _work(bench, one, position, variants, store, progress, stop)
            for position, one in enumerate(ready)
        ]
        with watch.step("measure on phones"):
            _perform(works, ready, stop)
    timings = (*bench.timings, *watch.timings)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    bench = bench.model_copy(
        update={"status": "complete", "timings": timings, "finished_at_utc": now}
    )
    store.save(bench)
    return bench


def _prepare(targets: Sequence[Target], progress: Progress) -> list[_Ready]:
    ready, problems = [], []
    for target in targets:
        try:
            ready.append(_meet(target))
        except HarnessError as exc:
            problems.append(f"{target.label}: {exc}")
            progress.line(f"{target.label} is left out: {exc}")
    if not ready:
        raise NoPhone("; ".join(problems) or "nothing is connected")
    return ready


def _meet(target: Target) -> _Ready:
    with target.connect() as transport:
        phone = Phone(transport)
        identity = identity_of(phone)
        supported = next((a for a in identity.abis if a in bundles.SUPPORTED_ABIS), None)
        if supported is None:
            raise WrongAbi(transport.endpoint, identity.abis, tuple(bundles.SUPPORTED_ABIS))
        described = transport.description
    return _Ready(
        target=target,
        identity=identity,
        transport=described,
        bundle=bundles.build_bundle(supported),
    )


def _open(
    variants: Sequence[Variants],
    ready: Sequence[_Ready],
    protocol: Protocol,
    store: Store,
    progress: Progress,
) -> Bench:
    """The interrupted bench of the same matrix, or a new one."""
    key = _key(variants, ready, protocol)
    found = store.open_bench(key)
    if found is not None:
        progress.line(f"going on with {found.id}, which was interrupted")
        return found
    now = datetime.now(UTC)
    bench = Bench(
        id=f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}",
        key=key,
        created_at_utc=now.isoformat(timespec="seconds"),
        tool_version=version("deploy-bench"),
        protocol=protocol,
    )
    store.save(bench)
    return bench


def _key(variants: Sequence[Variants], ready: Sequence[_Ready], protocol: Protocol) -> str:
    """Equal when the same files are measured in the same way on the same phones."""
    parts = [a.sha256 for v in variants for a in v.artifacts]
    parts += [
        f"{r.identity.serial} {r.identity.fingerprint} {r.bundle.engine_sha256}" for r in ready
    ]
    return sha256("\n".join([*parts, protocol.model_dump_json()]).encode()).hexdigest()


def _work(
    bench: Bench,
    ready: _Ready,
    position: int,
    variants: Sequence[Variants],
    store: Store,
    progress: Progress,
    stop: Event,
) -> PhoneBench:
    serial = ready.identity.serial
    visit = next((v for v in store.phones(bench.id) if v.serial == serial), None)
    if visit is None:
        visit = PhoneVisit(
            bench=bench.id,
            serial=serial,
            position=position,
            identity=ready.identity,
            transport=ready.transport,
            engine=f"ai-edge-litert {ready.bundle.engine_version}",
            engine_sha256=ready.bundle.engine_sha256,
        )
        store.save(visit)
    lock = Lock()

    def tell(told: Told) -> None:
        with lock:
            progress.step(ready.target.label, told.text, told.done, told.total)

    return PhoneBench(
        connect=ready.target.connect,
        visit=visit,
        runs=_runs(bench, serial, variants, store),
        bundle=ready.bundle,
        protocol=bench.protocol,
        store=store,
        tell=tell,
        stop=stop,
    )


def _runs(bench: Bench, serial: str, variants: Sequence[Variants], store: Store) -> tuple[Run, ...]:
    """The phone's runs: as stored, with the artifacts that lie on disk now."""
    stored = {run.name: run for run in store.runs(bench.id, serial)}
    wanted = [
        (group.summary, threads, artifact)
        for group in variants
        for threads in bench.protocol.threads or group.threads
        for artifact in group.artifacts
    ]
    runs: list[Run] = []
    for position, (summary, threads, artifact) in enumerate(wanted):
        fresh = Run(
            bench=bench.id,
            serial=serial,
            position=position,
            artifact=artifact,
            summary=summary,
            threads=threads,
        )
        found = stored.get(fresh.name)
        runs.append(found.model_copy(update={"artifact": artifact}) if found else fresh)
    for run in runs:
        store.save(run)
    return tuple(runs)


def _perform(works: Sequence[PhoneBench], ready: Sequence[_Ready], stop: Event) -> None:
    """Physical phones side by side; phones that live on this host one after the other."""
    physical = [one.identity.fidelity is Fidelity.PHONE for one in ready]
    apart = [work for work, alone in zip(works, physical, strict=True) if alone]
    shared = [work for work, alone in zip(works, physical, strict=True) if not alone]
    if apart:
        with ThreadPoolExecutor(max_workers=len(apart)) as pool:
            jobs = [pool.submit(work.perform) for work in apart]
            try:
                for job in jobs:
                    job.result()
            except BaseException:  # Ctrl-C comes to this thread only: the others must hear of it
                stop.set()
                raise
    for work in shared:
        work.perform()
