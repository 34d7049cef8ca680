"""Stored records to the report's data: every statistic is derived here, nothing is measured."""

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import PurePosixPath
from statistics import median

import numpy as np

from android_harness.evidence import Evidence
from android_harness.parse.runner import RunnerReport, parse_runner
from device_bench import record, stats, verdicts
from device_bench.errors import UnknownBench
from device_bench.report import model
from device_bench.store import Store

# Enough to draw a trace; the raw samples stay in the store.
TRACE_SAMPLES = 200
EMULATED_REASON = "time on an emulated processor is not latency"
# No gauge that we know to be calibrated, no energy figure.
ENERGY_REASON = "this phone's fuel gauge has no calibration record"

_Timed = tuple[record.Block, RunnerReport]


def build_report(store: Store, bench_id: str) -> model.Report:
    """The report of a stored bench.

    Raises:
        UnknownBench: no such bench.
    """
    bench = store.bench(bench_id)
    if bench is None:
        newest = tuple(found.id for found in store.benches()[:3])
        raise UnknownBench(store.path, bench_id, newest)
    return model.Report(
        bench=bench.id,
        created_at_utc=bench.finished_at_utc or bench.created_at_utc,
        tool_version=bench.tool_version,
        complete=bench.status == "complete",
        protocol=bench.protocol,
        phones=tuple(_phone(store, visit) for visit in store.phones(bench.id)),
        timings=bench.timings,
    )


def _phone(store: Store, visit: record.PhoneVisit) -> model.Phone:
    identity = visit.identity
    runs = store.runs(visit.bench, visit.serial)
    name = _name(identity)
    by_recipe = groupby(runs, key=lambda run: (run.artifact.recipe, run.threads))
    recipes = tuple(_recipe(store, visit, name, tuple(group)) for _, group in by_recipe)
    return model.Phone(
        name=name,
        key=identity.key,
        slug=f"{_slug(name)}-{identity.key}",
        manufacturer=identity.manufacturer,
        model=identity.model,
        soc=identity.soc,
        android=identity.android,
        sdk=identity.sdk,
        abis=identity.abis,
        fingerprint=identity.fingerprint,
        kernel=identity.kernel,
        security_patch=identity.security_patch,
        transport=visit.transport,
        evidence=identity.evidence,
        fidelity=identity.fidelity,
        time_is_latency=identity.fidelity.time_is_latency,
        state_before=visit.state_before,
        state_after=visit.state_after,
        recipes=recipes,
        failures=visit.failures,
        warnings=visit.warnings,
    )


def _recipe(
    store: Store, visit: record.PhoneVisit, phone: str, runs: Sequence[record.Run]
) -> model.Recipe:
    timed = {run.name: _timed(store, run) for run in runs}
    base = next((run for run in runs if run.artifact.is_baseline), None)
    base_blocks = timed[base.name] if base else []
    variants = tuple(_variant(visit, run, timed[run.name], base_blocks) for run in runs)
    first = runs[0].artifact
    provenance = first.provenance
    return model.Recipe(
        recipe=first.recipe,
        summary=runs[0].summary,
        threads=runs[0].threads,
        baseline=first.baseline,
        test_origin=first.test.origin,
        test_samples=max((run.check.samples for run in runs if run.check), default=0),
        answer=verdicts.answer(phone, first.baseline, variants),
        variants=variants,
        packages=provenance.packages,
        seed=provenance.seed,
        recipe_sha256=provenance.recipe_sha256,
        data_sha256=provenance.data_sha256,
        warnings=_shared_warnings(runs),
    )


def _timed(store: Store, run: record.Run) -> list[_Timed]:
    blocks = store.blocks(run.bench, run.serial, run.name)
    reports = ((block, parse_runner(block.runner)) for block in blocks)
    return [(block, report) for block, report in reports if isinstance(report, RunnerReport)]


def _variant(
    visit: record.PhoneVisit, run: record.Run, timed: list[_Timed], base: list[_Timed]
) -> model.Variant:
    artifact, check = run.artifact, run.check
    comparison, comparison_reason = _compare(run, timed, base)
    enough = len(timed) >= stats.FEWEST_BLOCKS
    unchecked = "its outputs were not checked on the phone"
    return model.Variant(
        variant=artifact.variant,
        branch=artifact.branch,
        format=artifact.format,
        sha256=artifact.sha256,
        bytes=artifact.bytes,
        bytes_zstd=artifact.bytes_zstd,
        compression_ratio=artifact.compression_ratio,
        parameters=artifact.parameters,
        macs=artifact.macs,
        sparsity=artifact.sparsity,
        status="not run" if run.status == "open" else run.status,
        failures=run.failures,
        latency=_latency(timed) if enough else None,
        latency_reason=None if enough else _no_latency(visit, run, len(timed)),
        comparison=comparison,
        comparison_reason=comparison_reason,
        blocks=tuple(_block(block, report) for block, report in timed),
        startup=_startup(timed) if timed else None,
        memory=_memory(timed) if timed else None,
        energy_mwh=None,
        energy_reason=ENERGY_REASON,
        accuracy_phone=check.accuracy if check else None,
        accuracy_phone_reason=check.accuracy_reason if check else unchecked,
        accuracy_host=artifact.accuracy,
        accuracy_host_reason=artifact.accuracy_reason,
        parity=check.parity if check else (),
        wrong=check.wrong if check else None,
        pushed_bytes=run.pushed_bytes,
        push_skipped=run.push_skipped,
        proof=_proof(visit, timed[0][1]) if timed else None,
        stages=tuple(
            model.Stage(
                name=stage.name, parameters=stage.parameters, key=stage.key, facts=stage.facts
            )
            for stage in artifact.provenance.stages
        ),
        conversion=artifact.conversion,
        built_at_utc=artifact.provenance.built_at_utc,
        warnings=_variant_warnings(run),
    )


def _variant_warnings(run: record.Run) -> tuple[str, ...]:
    wrong = run.check.wrong if run.check else None
    return (*run.artifact.warnings, *((f"wrong outputs: {wrong}",) if wrong else ()))


def _no_latency(visit: record.PhoneVisit, run: record.Run, blocks: int) -> str:
    if not visit.identity.fidelity.time_is_latency:
        return EMULATED_REASON
    return run.failures[-1].message if run.failures else f"{blocks} blocks were finished"


def _percentile(percent: float) -> Callable[[RunnerReport], float]:
    return lambda report: float(np.percentile(report.latency_us, percent))


def _latency(timed: Sequence[_Timed]) -> model.Latency:
    medians = [_percentile(50)(report) for _, report in timed]
    over = {
        percent: stats.median_of_blocks([_percentile(percent)(report) for _, report in timed])
        for percent in (50, 90, 99)
    }
    return model.Latency(
        p50_us=over[50],
        p90_us=over[90],
        p99_us=over[99],
        min_us=min(min(report.latency_us) for _, report in timed),
        samples=sum(len(report.latency_ns) for _, report in timed),
        blocks=len(timed),
        block_spread_percent=stats.spread_percent(medians),
    )


def _compare(
    run: record.Run, timed: list[_Timed], base: list[_Timed]
) -> tuple[model.Comparison | None, str | None]:
    """Pair the blocks of the same round with the baseline's."""
    if run.artifact.is_baseline:
        return None, "this is the baseline"
    baseline = {block.number: _percentile(50)(report) for block, report in base}
    pairs = [
        (baseline[block.number], _percentile(50)(report))
        for block, report in timed
        if block.number in baseline
    ]
    if len(pairs) < stats.FEWEST_BLOCKS:
        return None, f"{len(pairs)} rounds hold both this variant and the baseline"
    before, after = zip(*pairs, strict=True)
    return verdicts.judge(stats.paired_ratio(before, after), len(pairs)), None


def _block(block: record.Block, report: RunnerReport) -> model.Block:
    values = np.asarray(report.latency_us)
    p5, p25, p50, p75, p95, p99 = (float(v) for v in np.percentile(values, (5, 25, 50, 75, 95, 99)))
    picked = np.linspace(0, len(values) - 1, min(len(values), TRACE_SAMPLES)).astype(int)
    return model.Block(
        number=block.number,
        position=block.position,
        samples=len(values),
        min_us=float(values.min()),
        p5_us=p5,
        p25_us=p25,
        p50_us=p50,
        p75_us=p75,
        p95_us=p95,
        p99_us=p99,
        max_us=float(values.max()),
        trace_us=tuple(float(v) for v in values[picked]),
        cpu_per_wall=report.cpu_per_wall,
        involuntary_switches=report.timed.involuntary_switches,
        temperature_c=block.state_after.battery_temperature_c,
        flags=block.flags,
    )


def _startup(timed: Sequence[_Timed]) -> model.Startup:
    def of(read: Callable[[RunnerReport], int]) -> float:
        return median(read(report) / 1000.0 for _, report in timed)

    return model.Startup(
        library_us=of(lambda r: r.init_ns.library),
        environment_us=of(lambda r: r.init_ns.environment),
        model_us=of(lambda r: r.init_ns.model),
        compile_us=of(lambda r: r.init_ns.compile),
        total_us=of(lambda r: r.init_ns.total),
        first_us=of(lambda r: r.first_ns),
    )


def _memory(timed: Sequence[_Timed]) -> model.Memory:
    memories = [report.memory for _, report in timed]
    pss = [m.after_run.pss_kb for m in memories if m.after_run.pss_kb is not None]
    return model.Memory(
        before_load_rss_kb=median(m.before_load.rss_kb for m in memories),
        after_init_rss_kb=median(m.after_init.rss_kb for m in memories),
        peak_kb=median(m.after_run.hwm_kb for m in memories),
        after_run_pss_kb=median(pss) if pss else None,
    )


def _proof(visit: record.PhoneVisit, report: RunnerReport) -> model.Proof:
    return model.Proof(
        engine=visit.engine,
        engine_sha256=report.engine.sha256,
        accelerators=report.accelerators,
        fully_accelerated=report.fully_accelerated,
        threads=report.threads,
        cpus_allowed=report.cpus_allowed,
        page_bytes=report.page_bytes,
        machine=report.machine,
        kernel=report.kernel,
    )


def _shared_warnings(runs: Sequence[record.Run]) -> tuple[str, ...]:
    """What every variant warns of is the recipe's, and is said once."""
    shared = set(runs[0].artifact.warnings)
    for run in runs[1:]:
        shared &= set(run.artifact.warnings)
    return tuple(sorted(shared))


def _name(identity: record.Identity) -> str:
    if identity.evidence is not Evidence.PHYSICAL:
        return f"{identity.model} ({identity.fidelity})"
    if identity.model.lower().startswith(identity.manufacturer.lower()):
        return identity.model
    return f"{identity.manufacturer} {identity.model}"


def _slug(name: str) -> str:
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower())
    return PurePosixPath("-".join(part for part in kept.split("-") if part)[:40]).name or "phone"
