"""Reports of every shape the pages must stand: made up, seeded, no measurement behind them."""

import hashlib
import random
from dataclasses import dataclass

from android_harness.errors import FailureKind
from android_harness.evidence import Fidelity
from device_bench.record import Failure, Parity, Protocol, State, Timing
from device_bench.report.model import (
    Answer,
    Block,
    Comparison,
    Estimate,
    Latency,
    Memory,
    Phone,
    Proof,
    Recipe,
    Report,
    Stage,
    Startup,
    Variant,
)
from pipeline.artifact import Accuracy

BLOCKS = 5
HOSTILE = (
    '<script>alert("x")</script>|`rm -rf`<img src=//evil.example/x.png>\n# head\r[a](javascript:1)'
)
NO_ENERGY = "the phone was charging over USB; current_now also holds what the cable delivers"
EMULATED = "time on an emulated processor is not latency"
RANDOM_WEIGHTS = (
    "random weights: the recipe was built without training data, accuracy means nothing"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a made-up variant looks like."""

    name: str
    branch: str
    format: str
    kilobytes: float
    p50_us: float
    correct: int | None
    params: int = 78_666
    macs: int | None = 12_501_632
    sparsity: float = 0.0


CNN = (
    Shape(name="base_float32", branch="base", format="float32", kilobytes=318, p50_us=812,
          correct=917),
    Shape(name="base_int8", branch="base", format="int8", kilobytes=91, p50_us=371, correct=912),
    Shape(name="base_dynamic", branch="base", format="dynamic", kilobytes=92, p50_us=640,
          correct=915),
    Shape(name="pruned50_float32", branch="pruned50", format="float32", kilobytes=318, p50_us=809,
          correct=911, sparsity=0.5),
    Shape(name="channels40_int8", branch="channels40", format="int8", kilobytes=44, p50_us=188,
          correct=904, params=32_110, macs=4_802_100),
    Shape(name="distilled_int8", branch="distilled", format="int8", kilobytes=38, p50_us=176,
          correct=862, params=27_000, macs=None),
)  # fmt: skip
BIG = (
    Shape(name="base_float32", branch="base", format="float32", kilobytes=13_900, p50_us=14_800,
          correct=None, params=3_450_000, macs=300_000_000),
    Shape(name="base_float16", branch="base", format="float16", kilobytes=7_020, p50_us=15_100,
          correct=None, params=3_450_000, macs=300_000_000),
    Shape(name="base_int8", branch="base", format="int8", kilobytes=3_900, p50_us=1_240,
          correct=None, params=3_450_000, macs=300_000_000),
)  # fmt: skip


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _block(dice: random.Random, number: int, position: int, p50_us: float) -> Block:
    drift = p50_us * (1 + dice.gauss(0, 0.008))
    trace = tuple(
        round(drift * (1 + abs(dice.gauss(0, 0.012)) + (0.35 if dice.random() < 0.015 else 0)), 2)
        for _ in range(200)
    )
    ordered = sorted(trace)
    at = {share: ordered[int(share * 199)] for share in (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)}
    return Block(
        number=number, position=position, samples=1240, min_us=ordered[0], p5_us=at[0.05],
        p25_us=at[0.25], p50_us=at[0.5], p75_us=at[0.75], p95_us=at[0.95], p99_us=at[0.99],
        max_us=ordered[-1], trace_us=trace, cpu_per_wall=round(0.985 + dice.random() / 100, 3),
        involuntary_switches=dice.randrange(12), temperature_c=round(28 + position / 10, 1),
        flags=("warmer than the gate",) if number == BLOCKS - 1 and position % 3 == 0 else (),
    )  # fmt: skip


def _estimate(value: float, spread: float) -> Estimate:
    return Estimate(value=value, low=value * (1 - spread), high=value * (1 + spread))


def _latency(blocks: tuple[Block, ...]) -> Latency:
    medians = sorted(block.p50_us for block in blocks)
    middle = medians[len(medians) // 2]
    return Latency(
        p50_us=_estimate(middle, 0.011), p90_us=_estimate(middle * 1.04, 0.02),
        p99_us=_estimate(middle * 1.31, 0.09), min_us=min(b.min_us for b in blocks),
        samples=sum(b.samples for b in blocks), blocks=len(blocks),
        block_spread_percent=100 * (medians[-1] - medians[0]) / middle,
    )  # fmt: skip


def _comparison(speedup: float) -> Comparison:
    verdict = "same" if abs(speedup - 1) < 0.02 else "faster" if speedup > 1 else "slower"
    return Comparison(
        speedup=_estimate(speedup, 0.014), verdict=verdict, smallest_visible_percent=1.6
    )


def _accuracy(correct: int | None) -> Accuracy | None:
    return None if correct is None else Accuracy.of(correct, 1000)


def proof(machine: str = "aarch64") -> Proof:
    return Proof(
        engine="LiteRT 2.3.0", engine_sha256=sha("engine"), accelerators=("CpuAccelerator",),
        fully_accelerated=True, threads=1, cpus_allowed=(4, 5, 6, 7), page_bytes=4096,
        machine=machine, kernel="6.1.75-android14-11",
    )  # fmt: skip


def parity(shape: Shape) -> tuple[Parity, ...]:
    exact = shape.format == "int8"
    return (
        Parity(engine="ai-edge-litert 2.3.0", samples=1000, bit_identical=exact,
               max_abs_difference=0.0 if exact else 2.4e-7, argmax_agreement=1.0),
        Parity(engine="tflite-runtime 2.14.0", samples=1000, bit_identical=False,
               max_abs_difference=0.0078 if exact else 6.6e-7, argmax_agreement=0.998),
    )  # fmt: skip


def variant(
    shape: Shape,
    baseline: Shape,
    *,
    seed: int = 1,
    emulated: bool = False,
    accuracy_reason: str | None = None,
    warnings: tuple[str, ...] = (),
) -> Variant:
    dice = random.Random(f"{seed} {shape.name}")
    blocks = tuple(_block(dice, n, n * 6 + dice.randrange(6), shape.p50_us) for n in range(BLOCKS))
    is_baseline = shape is baseline
    total = 5_200 + shape.kilobytes * 4
    accuracy = _accuracy(shape.correct)
    file_bytes, base_bytes = round(shape.kilobytes * 1000), round(baseline.kilobytes * 1000)
    compared = not is_baseline and not emulated
    return Variant(
        variant=shape.name, branch=shape.branch, format=shape.format, sha256=sha(shape.name),
        bytes=file_bytes, bytes_zstd=round(file_bytes * (0.9 - shape.sparsity * 0.6)),
        compression_ratio=(base_bytes - file_bytes) / base_bytes,
        parameters=shape.params, macs=shape.macs, sparsity=shape.sparsity,
        status="ok", failures=(),
        latency=None if emulated else _latency(blocks),
        latency_reason=EMULATED if emulated else None,
        comparison=_comparison(baseline.p50_us / shape.p50_us) if compared else None,
        comparison_reason=None if compared else EMULATED if emulated else "this is the baseline",
        blocks=blocks,
        startup=None if emulated else Startup(
            library_us=1_900, environment_us=640, model_us=180 + shape.kilobytes / 3,
            compile_us=total - 2_720 - shape.kilobytes / 3, total_us=total,
            first_us=shape.p50_us * 1.9,
        ),
        memory=Memory(
            before_load_rss_kb=4_120, after_init_rss_kb=14_300 + shape.kilobytes * 1.4,
            peak_kb=15_800 + shape.kilobytes * 2.1, after_run_pss_kb=9_100 + shape.kilobytes * 1.9,
        ),
        energy_mwh=None, energy_reason=NO_ENERGY,
        accuracy_phone=accuracy,
        accuracy_phone_reason=None if accuracy else accuracy_reason or "the test set has no labels",
        accuracy_host=accuracy,
        accuracy_host_reason=None if accuracy else accuracy_reason or "the test set has no labels",
        parity=parity(shape), pushed_bytes=file_bytes, push_skipped=False,
        proof=proof(), stages=(
            Stage(name="train", parameters={"epochs": 12, "rate": 0.001}, key=sha("train"),
                  facts={"loss": 0.0123456, "left_whole": {"logits": "gives the model's output"}}),
            Stage(name="export", parameters={"format": shape.format}, key=sha(shape.name)),
        ),
        built_at_utc="2026-11-20T09:30:00Z", warnings=warnings,
    )  # fmt: skip


def failed(name: str, baseline: Shape) -> Variant:
    reason = "every attempt failed"
    return variant(
        Shape(
            name=name, branch="binarized", format="float32", kilobytes=120, p50_us=900, correct=None
        ),
        baseline,
    ).model_copy(update={
        "status": "failed", "latency": None, "latency_reason": reason, "comparison": None,
        "comparison_reason": reason, "blocks": (), "startup": None, "memory": None,
        "accuracy_phone": None, "accuracy_phone_reason": reason, "parity": (), "proof": None,
        "pushed_bytes": None, "push_skipped": None,
        "failures": (
            Failure(kind=FailureKind.DEVICE, retried=True,
                    message="phone 1f3a… was lost while running block 2; check cable and power"),
            Failure(kind=FailureKind.MODEL, retried=False,
                    message="the runner was ended by signal 9 (out of memory?)"),
        ),
    })  # fmt: skip


def recipe(shapes: tuple[Shape, ...], *, chosen: str | None, **changes: object) -> Recipe:
    base = {
        "recipe": "cifar10_cnn",
        "summary": "A small convolutional network on 32x32 colour images, ten classes.",
        "baseline": shapes[0].name, "test_origin": "test split", "test_samples": 1000,
        "answer": Answer(
            headline="Ship channels40_int8: 4.3× faster, 86 % smaller, 1.3 points less accurate.",
            detail=(
                "Its median inference takes 188 µs instead of 812 µs.",
                "Accuracy on the phone is 90.4 %, inside the 2 points the recipe allows.",
                "pruned50_float32 did not pay: the engine multiplies its zeros too.",
            ),
            chosen=chosen,
        ),
        "variants": tuple(variant(shape, shapes[0]) for shape in shapes),
        "packages": {"tensorflow": "2.21.0", "tf-keras": "2.21.0", "numpy": "1.26.4"},
        "seed": 20261120, "recipe_sha256": sha("recipe"), "data_sha256": sha("data"),
        "warnings": (),
    }  # fmt: skip
    return Recipe.model_validate({**base, **changes})


def state(*, after: bool = False) -> State:
    return State(
        at_utc="2026-11-23T14:12:44Z" if after else "2026-11-23T13:58:02Z",
        battery_percent=81 if after else 83, battery_temperature_c=31.2 if after else 27.9,
        battery_voltage_mv=4_211, charge_counter_uah=3_402_000, current_now_raw=-412_000,
        charging="no", thermal_status="light" if after else "none",
        temperatures_c={"skin": 33.4 if after else 29.1, "cpu-big": 41.0 if after else 30.5},
        load1=1.7 if after else 0.4, notes=(),
    )  # fmt: skip


def phone(name: str, slug: str, fidelity: Fidelity, **changes: object) -> Phone:
    base = {
        "name": name, "key": sha(name)[:12], "slug": slug, "manufacturer": name.split()[0],
        "model": name.partition(" ")[2] or name, "soc": "Tensor G3", "android": "15", "sdk": 35,
        "abis": ("arm64-v8a",), "fingerprint": "google/shiba/shiba:15/AP4A.250105.002/1:user",
        "kernel": "6.1.75-android14-11", "security_patch": "2026-10-05",
        "transport": "adb over TCP",
        "evidence": fidelity.evidence, "fidelity": fidelity,
        "time_is_latency": fidelity.time_is_latency,
        "state_before": state(), "state_after": state(after=True),
        "recipes": (), "failures": (), "warnings": (),
    }  # fmt: skip
    return Phone.model_validate({**base, **changes})


def report(*phones: Phone, complete: bool = True) -> Report:
    return Report(
        bench="2026-11-23-a", created_at_utc="2026-11-23T14:13:09Z", tool_version="0.1.0",
        complete=complete,
        protocol=Protocol(
            blocks=BLOCKS, warmup_count=10, warmup_s=0.3, min_runs=50, min_s=1.0, max_runs=20_000,
            order="interleaved, random within each round", threads=(1,),
        ),
        phones=phones,
        timings=(Timing(step="build variants", seconds=142.4), Timing(step="push", seconds=3.2),
                 Timing(step="measure", seconds=203.8), Timing(step="report", seconds=2.1)),
    )  # fmt: skip


def physical() -> Phone:
    variants = tuple(variant(shape, CNN[0]) for shape in CNN)
    return phone(
        "Google Pixel 8", "google-pixel-8", Fidelity.PHONE,
        recipes=(
            recipe(CNN, chosen="channels40_int8",
                   variants=(*variants, failed("binarized_float32", CNN[0]))),
        ),
        failures=(
            Failure(kind=FailureKind.DEVICE, retried=True,
                    message="the battery was at 36 °C; waited 94 s for 34 °C"),
        ),
    )  # fmt: skip


def container() -> Phone:
    big = tuple(
        variant(s, BIG[0], accuracy_reason="the weights are random", warnings=(RANDOM_WEIGHTS,))
        for s in BIG
    )
    return phone(
        "deploy-bench virtual phone", "virtual-container-x86-64", Fidelity.CONTAINER,
        soc=None, abis=("x86_64",), fingerprint="", security_patch=None,
        state_before=State(
            at_utc="2026-11-23T13:58:02Z", battery_percent=None, battery_temperature_c=None,
            battery_voltage_mv=None, charge_counter_uah=None, current_now_raw=None, charging=None,
            thermal_status=None, temperatures_c={}, load1=0.8,
            notes=("a container has no battery and no thermal sensors",),
        ),
        state_after=None,
        recipes=(
            recipe(CNN[:4], chosen="base_int8", answer=Answer(
                headline="Ship base_int8: 2.2× faster, 71 % smaller, 0.5 points less accurate.",
                detail=("Measured on a virtual phone; measure on a real one before you ship.",),
                chosen="base_int8",
            )),
            recipe(BIG, chosen=None, recipe="mobilenet_v2", variants=big, data_sha256=None,
                   summary="MobileNetV2 at 224x224, from an ONNX file.",
                   test_origin="random", test_samples=16, warnings=(RANDOM_WEIGHTS,),
                   answer=Answer(
                       headline="No variant can be recommended: the weights are random.",
                       detail=("base_int8 is 12× faster than base_float32 here.",), chosen=None)),
        ),
    )  # fmt: skip


def emulated() -> Phone:
    variants = tuple(variant(shape, CNN[0], emulated=True) for shape in CNN[:3])
    return phone(
        "deploy-bench arm64 phone", "virtual-emulated-arm64", Fidelity.EMULATED,
        state_before=None, state_after=None,
        recipes=(
            recipe(CNN[:3], chosen="base_int8", variants=variants, answer=Answer(
                headline="base_int8 gives the same answers on arm64 and is 71 % smaller.",
                detail=("Its speed was not judged: this processor is emulated.",),
                chosen="base_int8",
            )),
        ),
    )  # fmt: skip


def dead() -> Phone:
    return phone(
        "Samsung Galaxy A15", "samsung-galaxy-a15", Fidelity.PHONE, soc=None,
        state_before=None, state_after=None,
        failures=(
            Failure(kind=FailureKind.DEVICE, retried=True,
                    message="192.168.1.7:5555 did not answer within 20 s; it may still be booting"),
            Failure(kind=FailureKind.DEVICE, retried=False,
                    message="192.168.1.7:5555 has not authorized this computer; unlock the phone "
                            "and accept 'Allow USB debugging', then run again"),
        ),
    )  # fmt: skip


def hostile() -> Phone:
    shapes = (
        Shape(
            name=HOSTILE, branch=HOSTILE, format="float32", kilobytes=318, p50_us=812, correct=917
        ),
        Shape(name="x" * 300, branch="long", format="int8", kilobytes=91, p50_us=371, correct=912),
        Shape(
            name="模型_量化_🚀_نموذج",
            branch="é",
            format="int8",
            kilobytes=90,
            p50_us=371.5,
            correct=911,
        ),
    )
    bad = variant(shapes[0], shapes[0], warnings=(HOSTILE,)).model_copy(update={
        "stages": (Stage(name=HOSTILE, parameters={HOSTILE: [HOSTILE, {"a": HOSTILE}]},
                         facts={HOSTILE: HOSTILE, "list": [HOSTILE]}),),
        "conversion": {HOSTILE: {HOSTILE: HOSTILE}},
        "failures": (Failure(kind=FailureKind.INFRA, message=HOSTILE, retried=True),),
        "energy_reason": HOSTILE, "proof": proof(HOSTILE),
        "parity": (Parity(engine=HOSTILE, samples=3, bit_identical=None, max_abs_difference=None,
                          argmax_agreement=None, reason=HOSTILE),),
    })  # fmt: skip
    others = tuple(variant(shape, shapes[0]) for shape in shapes[1:])
    return phone(
        HOSTILE, "hostile", Fidelity.PHONE, soc=HOSTILE, fingerprint=HOSTILE, android=HOSTILE,
        manufacturer=HOSTILE, model=HOSTILE, kernel=HOSTILE, transport=HOSTILE, abis=(HOSTILE,),
        state_before=state().model_copy(
            update={"notes": (HOSTILE,), "temperatures_c": {HOSTILE: 30.0}, "charging": HOSTILE}
        ),
        recipes=(
            recipe(shapes, chosen=shapes[1].name, variants=(bad, *others), recipe=HOSTILE,
                   summary=HOSTILE, test_origin=HOSTILE, packages={HOSTILE: HOSTILE},
                   warnings=(HOSTILE,),
                   answer=Answer(headline=HOSTILE, detail=(HOSTILE,), chosen=shapes[1].name)),
        ),
        failures=(Failure(kind=FailureKind.DEVICE, message=HOSTILE, retried=False),),
        warnings=(HOSTILE,),
    )  # fmt: skip


def everything() -> Report:
    """One report over every sample phone."""
    return report(physical(), container(), emulated(), dead(), hostile(), complete=False)
