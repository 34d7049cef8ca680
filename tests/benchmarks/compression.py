"""What every technique does to accuracy, size and latency, with its controls, in one run.

Run by ``make bench-compression``; writes docs/compression.md. Accuracy comes from the digits
recipe over several seeds, trained here; latency from the runner on this host, one thread, every
variant in every round. Machines are shared and noisy: read the ratios, not the milliseconds.
"""

import argparse
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import t as student

from android_harness.places import BUILD, VARIANTS
from android_harness.runner.bundle import build_bundle, host_abi
from android_harness.runner.host import run_on_host
from android_harness.runner.options import RunnerOptions
from device_bench.stats import paired_ratio
from pipeline.artifact import Artifact, load_artifacts

MODELS = Path("models")
TABLE = Path("docs/compression.md")
README, BEGIN, END = Path("README.md"), "<!-- bench-compression -->", "<!-- /bench-compression -->"
ROUNDS = 9
IN_README = frozenset({
    "dense_float32", "dense_int8", "half_l1_float32", "half_taylor_float32", "half_random_float32",
    "half_scratch_float32", "half_l1_int8", "sparse80_int8", "qat_int8", "pcqat_int8",
    "binary_int8", "macs50_float32", "macs50_int8", "macs50_by1_float32", "macs25_int8",
    "dense_dynamic", "dense_dynamic_conv",
})  # fmt: skip
CONTROLS = (
    ("half_l1_float32", "half_random_float32", "channels drawn at random"),
    ("half_taylor_float32", "half_random_float32", "channels drawn at random"),
    ("half_l1_float32", "half_scratch_float32", "the same widths, new weights, as much training"),
    ("half_l1_float32", "half_alone_float32", "the same without a teacher"),
    ("half_l1_float32", "longer_float32", "nothing removed, as much training"),
    ("qat_int8", "dense_float32", "float32"),
    ("dense_int8", "dense_float32", "float32"),
)

DIGITS = """\
summary = "every technique on the digits, seed {seed}"
seed = {seed}
baseline = "dense_float32"
[quantize]
tolerance = 0.003
[[branch]]
name = "dense"
stages = [{{ stage = "train", epochs = 20, learning_rate = 4e-3 }}]
formats = ["float32", "float16", "dynamic", "dynamic_conv", "int8", "weight_int4", "mixed"]
[[branch]]
name = "longer"
from = "dense"
stages = [{{ stage = "train", epochs = 14, learning_rate = 1e-3 }}]
formats = ["float32", "int8"]
{halves}
[[branch]]
name = "half_scratch"
from = "half_l1"
stages = [{{ stage = "train", fresh = true, epochs = 34, learning_rate = 4e-3 }}]
formats = ["float32", "int8"]
[[branch]]
name = "sparse80"
from = "dense"
stages = [
    {{ stage = "prune_weights", sparsity = 0.8, epochs = 10, learning_rate = 1e-3 }},
    {{ stage = "finetune", epochs = 4, learning_rate = 3e-4 }},
]
formats = ["float32", "float32_sparse", "int8"]
[[branch]]
name = "qat"
from = "dense"
stages = [{{ stage = "quantize_aware", epochs = 4, learning_rate = 3e-4 }}]
formats = ["int8"]
[[branch]]
name = "pqat"
from = "sparse80"
stages = [{{ stage = "quantize_aware", epochs = 4, learning_rate = 3e-4 }}]
formats = ["int8"]
[[branch]]
name = "clustered"
from = "dense"
stages = [{{ stage = "cluster", clusters = 16, epochs = 4, learning_rate = 3e-4 }}]
formats = ["float32", "int8"]
[[branch]]
name = "pcqat"
from = "sparse80"
stages = [
    {{ stage = "cluster", clusters = 16, epochs = 4, learning_rate = 3e-4 }},
    {{ stage = "quantize_aware", epochs = 4, learning_rate = 3e-4 }},
]
formats = ["int8"]
[[branch]]
name = "binary"
from = "dense"
stages = [{{ stage = "binarize", epochs = 14, learning_rate = 1e-3 }}]
formats = ["float32", "int8"]
"""
HALF = """\
[[branch]]
name = "half_{name}"
from = "dense"
stages = [{{ stage = "prune_channels", keep = 0.5, score = "{score}", multiple = 8, epochs = 14, \
learning_rate = 1e-3{more} }}]
formats = ["float32", "int8"]
"""
DISTIL = ', distil = { teacher = "dense" }'
HALVES = (
    ("l1", "l1", DISTIL), ("taylor", "taylor", DISTIL), ("random", "random", DISTIL),
    ("alone", "l1", ""),
)  # fmt: skip

MOBILENET = """\
summary = "MobileNetV2-224 at half and a quarter of its multiplications, random weights"
seed = 7
baseline = "dense_float32"
[model]
weights = "random"
[[branch]]
name = "dense"
formats = ["float32", "dynamic", "dynamic_conv", "int8"]
"""
MOBILENET_BRANCH = """\
[[branch]]
name = "{name}"
from = "dense"
stages = [{{ stage = "prune_channels", keep = {keep}, multiple = {multiple} }}]
formats = ["float32", "int8"]
"""
MOBILENET_BRANCHES = (
    ("macs50", 0.5, 16), ("macs50_by8", 0.5, 8), ("macs50_by1", 0.5, 1), ("macs25", 0.25, 16),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One variant over all seeds."""

    variant: str
    accuracies: tuple[float, ...]
    lost: tuple[float, ...]  # points against the baseline of the same seed
    artifact: Artifact  # of the first seed
    baseline: Artifact


def main() -> None:
    """Build, measure, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of every variant")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="blocks of every variant")
    asked = parser.parse_args()
    recipes = [_digits_recipe(seed) for seed in range(1, asked.seeds + 1)]
    by_seed = [_built(recipe) for recipe in recipes]
    _check_readme()
    lines = {name: _line(name, by_seed) for name in by_seed[0]}
    mobilenet = _built(_mobilenet_recipe())
    digits = _latencies([line.artifact for line in lines.values()], asked.rounds)
    text = "\n".join(
        [
            _heading(asked.seeds),
            _digits_table(list(lines.values()), digits),
            _controls(lines),
            "## MobileNetV2, 224 x 224, random weights: size and latency only\n",
            _mobilenet_table(mobilenet, _latencies(list(mobilenet.values()), asked.rounds)),
        ]
    )
    TABLE.write_text(text, encoding="utf-8")
    _update_readme(text)
    sys.stdout.write(text)


def _digits_recipe(seed: int) -> Path:
    halves = "".join(HALF.format(name=n, score=s, more=m) for n, s, m in HALVES)
    text = DIGITS.format(seed=seed, halves=halves)
    return _written(f"digits_seed{seed}", text, MODELS / "digits_mobile")


def _mobilenet_recipe() -> Path:
    branches = "".join(
        MOBILENET_BRANCH.format(name=n, keep=k, multiple=m) for n, k, m in MOBILENET_BRANCHES
    )
    return _written("mobilenet_thinned", MOBILENET + branches, MODELS / "mobilenet_v2")


def _written(name: str, recipe: str, source: Path) -> Path:
    folder = BUILD / "bench-compression" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.toml").write_text(recipe, encoding="utf-8")
    (folder / "model.py").write_text((source / "model.py").read_text("utf-8"), "utf-8")
    return folder


def _built(recipe: Path) -> dict[str, Artifact]:
    """The recipe's variants, in its order; what was built before is not built again."""
    command = [sys.executable, "-m", "device_bench.cli", "build", str(recipe)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    from pipeline.recipe import load_recipe

    made = {a.variant: a for a in load_artifacts(VARIANTS / recipe.name)}
    return {name: made[name] for name in load_recipe(recipe).variants}


def _line(variant: str, by_seed: Sequence[Mapping[str, Artifact]]) -> Line:
    accuracies = [_accuracy(seed[variant]) for seed in by_seed]
    baselines = [_accuracy(seed["dense_float32"]) for seed in by_seed]
    return Line(
        variant=variant,
        accuracies=tuple(accuracies),
        lost=tuple(100 * (b - a) for a, b in zip(accuracies, baselines, strict=True)),
        artifact=by_seed[0][variant],
        baseline=by_seed[0]["dense_float32"],
    )


def _accuracy(artifact: Artifact) -> float:
    if artifact.accuracy is None:
        raise SystemExit(f"{artifact.variant} has no accuracy: {artifact.accuracy_reason}")
    return artifact.accuracy.value


def _latencies(artifacts: Sequence[Artifact], rounds: int) -> dict[str, list[float]]:
    """p50 in us of every variant in every round; the order is shuffled anew each round."""
    bundle, random = build_bundle(host_abi()), np.random.default_rng(1)
    found: dict[str, list[float]] = {a.variant: [] for a in artifacts}
    for number in range(rounds):
        for index in random.permutation(len(artifacts)):
            artifact = artifacts[index]
            options = RunnerOptions(min_runs=50, min_s=0.4)
            report = run_on_host(bundle, artifact.model_path, options)
            found[artifact.variant].append(statistics.median(report.latency_us))
        sys.stderr.write(f"latency: round {number + 1} of {rounds}\n")
    return found


def _heading(seeds: int) -> str:
    return (
        "# What each technique does\n\n"
        "Written by `make bench-compression`. Evidence: `host` (an x86 server, one thread); no\n"
        "phone was measured. Latency is a ratio to dense_float32 in the same rounds, with its\n"
        f"95 % interval over rounds. Accuracy: mean over {seeds} seeds on 360 test images (one\n"
        "image is 0.28 points), with the 95 % t interval of the difference to dense_float32.\n\n"
        "## Digits, 32 x 32 (8.9 million multiplications: bound by overhead, not by work)\n"
    )


def _digits_table(lines: Sequence[Line], latencies: Mapping[str, list[float]]) -> str:
    head = [
        "| variant | accuracy | points lost | MMAC | file | zstd | x smaller (zstd) | x faster |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    base = latencies["dense_float32"]
    rows = [
        f"| {line.variant} | {100 * statistics.mean(line.accuracies):.1f} % | "
        f"{_interval(line.lost)} | {_mmac(line.artifact)} | {line.artifact.bytes / 1000:.0f} kB | "
        f"{line.artifact.bytes_zstd / 1000:.0f} kB | "
        f"{line.baseline.bytes / line.artifact.bytes_zstd:.1f} | "
        f"{_ratio(base, latencies[line.variant])} |"
        for line in lines
    ]
    return "\n".join([*head, *rows]) + "\n"


def _controls(lines: Mapping[str, Line]) -> str:
    """What stands against each control, and whether the difference can be told from none."""
    said = ["Against the controls (points of accuracy, 95 % t interval over seeds):\n"]
    for ours, control, why in CONTROLS:
        pairs = zip(lines[ours].accuracies, lines[control].accuracies, strict=True)
        gained = [100 * (a - b) for a, b in pairs]
        centre, half = _spread(gained)
        if half is None or abs(centre) <= half:
            verdict = "cannot be told apart"
        else:
            verdict = "better" if centre > 0 else "worse"
        said.append(f"- {ours} against {control} ({why}): {_interval(gained)}: {verdict}.")
    return "\n".join(said) + "\n"


def _check_readme() -> None:
    """Before anything is measured: the place the table goes to."""
    text = README.read_text(encoding="utf-8")
    if not 0 <= text.find(BEGIN) < text.find(END):
        raise SystemExit(f"{README} has no {BEGIN} ... {END}")


def _update_readme(tables: str) -> None:
    """Put the rows that tell most between the README's marks."""
    rows = [row for row in tables.splitlines() if row.startswith("|")]
    heads = [n for n, row in enumerate(rows) if row.startswith("| variant")]
    shown = []
    for begin, end in zip(heads, [*heads[1:], len(rows)], strict=True):
        body = [row for row in rows[begin + 2 : end] if row.split("|")[1].strip() in IN_README]
        shown.append("\n".join([*rows[begin : begin + 2], *body]))
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    text = f"{before}{BEGIN}\n{chr(10).join(f'{table}{chr(10)}' for table in shown)}{END}{after}"
    README.write_text(text, encoding="utf-8")


def _mobilenet_table(
    artifacts: Mapping[str, Artifact], latencies: Mapping[str, list[float]]
) -> str:
    head = [
        "| variant | MMAC | file | x smaller | x faster than float32 | x faster than int8 |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    base = artifacts["dense_float32"]
    rows = [
        f"| {name} | {_mmac(a)} | {a.bytes / 1e6:.2f} MB | {base.bytes / a.bytes:.1f} | "
        f"{_ratio(latencies['dense_float32'], latencies[name])} | "
        f"{_ratio(latencies['dense_int8'], latencies[name])} |"
        for name, a in artifacts.items()
    ]
    return "\n".join([*head, *rows]) + "\n"


def _spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and half of its 95 % t interval; None where values show no spread."""
    centre = statistics.mean(values)
    if len(set(values)) == 1:
        return centre, None
    quantile = float(student.ppf(0.975, len(values) - 1))
    return centre, quantile * statistics.stdev(values) / len(values) ** 0.5


def _interval(values: Sequence[float]) -> str:
    centre, half = _spread(values)
    return f"{centre:+.1f}" if half is None else f"{centre:+.1f} ± {half:.1f}"


def _ratio(base: Sequence[float], other: Sequence[float]) -> str:
    found = paired_ratio(base, other)
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _mmac(artifact: Artifact) -> str:
    return "-" if artifact.macs is None else f"{artifact.macs / 1e6:.1f}"


if __name__ == "__main__":
    main()
