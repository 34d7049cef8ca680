"""Channel removal on every architecture of tf_keras.applications: what, how fast, how exact.

``python -m tests.benchmarks.channels [--only NAME ...] [--input N]`` prints a line for each and
writes docs/channels.md. Each architecture has a process of its own: peak memory is its own, and a
crash costs one row. Rows are kept in out/, so that ``--only`` renews some of the table.
Machines are shared and noisy: read the seconds as what they were at most.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROWS = Path("out/bench-channels.json")
PAGE = Path("docs/channels.md")
SHARE = 0.3
TIMEOUT_S = 1800
# In float64 rounding is out of the way; what is left is the rewrite.
EXACT = 1e-9
EXACT_SIDE = 96  # float64 convolutions are slow, and removal does not know the image's size
ROUNDING_FROM = 1e-5
# Where tf_keras leaves the input open, the size its weights were trained on.
OPEN_SIZE = 224
GROWTH = (
    "MobileNet", "MobileNetV2", "MobileNetV3Large", "EfficientNetB0", "EfficientNetB3",
    "EfficientNetB5", "EfficientNetB7",
)  # fmt: skip
CAUSES = {
    "gives the model's output": "output",
    "LayerNormalization": "LayerNormalization",
    "the model's input": "input",
    "all at once": "one unit",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one architecture showed.

    Attributes:
        analyse_s, remove_s: wall time.
        cpu_s: processor time of both, of all threads.
        rss_built_mb: peak memory of the process once the model is built.
        rss_mb: and once the smaller one is, beside it.
        error: largest difference that the law forbids, as a share of the outputs' scale; float32.
        rounding: what one float32 step of its input does to the zeroed original, which the error
            is held against, where the error is above ROUNDING_FROM.
        typical: median output, as a share of the largest; near 0 the error would tell nothing.
        change: that between the smaller model and the untouched original, for comparison.
    """

    name: str
    side: int
    layers: int
    groups: int
    macs: int
    macs_after: int
    parameters: int
    parameters_after: int
    analyse_s: float
    remove_s: float
    cpu_s: float
    predict_us: float
    predicted_right: bool
    rss_built_mb: float
    rss_mb: float
    error: float
    typical: float
    rounding: float | None
    change: float
    left_whole: dict[str, str]


def main() -> None:
    """Measure what is asked for, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="architectures; default: all")
    parser.add_argument("--input", type=int, metavar="N", help="side of the image; default: own")
    parser.add_argument("--row", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--exact", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.exact:
        sys.stdout.write(json.dumps(measure_exact(asked.only[0])) + "\n")
        return
    if asked.row:
        sys.stdout.write(json.dumps(asdict(measure(asked.only[0], asked.input))) + "\n")
        return
    known = architectures()
    if unknown := sorted(set(asked.only or ()) - set(known)):
        parser.error(f"no architecture of tf_keras.applications: {', '.join(unknown)}")
    rows = _kept_rows()
    for name in asked.only or known:
        side = ["--input", str(asked.input)] if asked.input else []
        rows[name] = _apart(name, "--row", *side)
        if "failed" not in rows[name]:
            exact = _apart(name, "--exact")
            rows[name] |= {"not_exact": exact["failed"]} if "failed" in exact else exact
        sys.stdout.write(_progress(name, rows[name]))
        sys.stdout.flush()
        ROWS.parent.mkdir(exist_ok=True)
        ROWS.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    PAGE.write_text(render(rows), encoding="utf-8")


def architectures() -> list[str]:
    """Every architecture of tf_keras.applications."""
    from pipeline.keras_compat import keras

    found = vars(keras.applications).items()
    return sorted(name for name, value in found if name[0].isupper() and callable(value))


def measure(name: str, side: int | None) -> Row:
    """Remove channels from one architecture with random weights and statistics."""
    from pipeline.channels.cost import cost_of
    from tests.integration.channels.models import shaken

    model = shaken(_built(name, side))
    rss_built_mb = _peak_mb()
    graph, dropped, smaller, seconds = _removed(model)
    rss_mb = _peak_mb()
    before, after = cost_of(model), cost_of(smaller)
    return Row(
        name=name,
        side=model.input_shape[1],
        layers=len(list(model._flatten_layers(include_self=False))),
        groups=len(graph.groups),
        macs=before.macs,
        macs_after=after.macs,
        parameters=before.parameters,
        parameters_after=after.parameters,
        rss_built_mb=rss_built_mb,
        rss_mb=rss_mb,
        left_whole=dict(graph.left_whole),
        **seconds,
        **_prediction(model, graph, dropped, (before, after)),
        **_exactness(model, graph, dropped, smaller),
    )


def measure_exact(name: str) -> dict[str, float | None]:
    """The law in float64."""
    from pipeline.channels.law import difference
    from pipeline.keras_compat import keras
    from tests.integration.channels.models import batch, shaken

    keras.backend.set_floatx("float64")
    model = shaken(_built(name, EXACT_SIDE))
    graph, dropped, smaller, _ = _removed(model)
    inputs = batch(model, 1)
    found = difference(model, graph, dropped, smaller, inputs)
    rounding = _one_step(model, graph, dropped, inputs) if found.share > EXACT else None
    return {
        "exact": found.share,
        "exact_typical": found.typical,
        "exact_rounding": rounding,
    }


def _one_step(model: Any, graph: Any, dropped: dict[str, list[int]], inputs: Any) -> float:
    """What the smallest step of the input does to the zeroed original."""
    import numpy as np

    from pipeline.channels.law import compared
    from pipeline.channels.rewrite import zeroed

    still = np.asarray(inputs)
    moved = np.nextafter(still, still.dtype.type(np.inf))
    reference = zeroed(model, graph, dropped)
    return compared(*(np.asarray(reference(x, training=False)) for x in (still, moved))).share


def _removed(model: Any) -> tuple[Any, dict[str, list[int]], Any, dict[str, float]]:
    from pipeline.channels.graph import analyse
    from pipeline.channels.rewrite import remove
    from tests.integration.channels.models import units

    started_s, cpu_s = time.perf_counter(), time.process_time()
    graph = analyse(model)
    analysed_s = time.perf_counter()
    dropped = units(graph, SHARE)
    smaller = remove(model, graph, dropped)
    seconds = {
        "analyse_s": analysed_s - started_s,
        "remove_s": time.perf_counter() - analysed_s,
        "cpu_s": time.process_time() - cpu_s,
    }
    return graph, dropped, smaller, seconds


def _prediction(
    model: Any, graph: Any, dropped: dict[str, list[int]], costs: tuple[Any, Any]
) -> dict[str, Any]:
    from pipeline.channels.cost import predicted

    predict = predicted(model, graph)
    kept = {group.name: group.channels - len(dropped[group.name]) for group in graph.groups}
    started_s = time.perf_counter()
    promised = predict(kept)
    predict_us = (time.perf_counter() - started_s) * 1e6
    return {"predict_us": predict_us, "predicted_right": (predict({}), promised) == costs}


def _exactness(
    model: Any, graph: Any, dropped: dict[str, list[int]], smaller: Any
) -> dict[str, Any]:
    import numpy as np

    from pipeline.channels.law import compared, difference
    from tests.integration.channels.models import batch

    inputs = batch(model, 1)
    found = difference(model, graph, dropped, smaller, inputs)
    whole, given = (np.asarray(m(inputs, training=False)) for m in (model, smaller))
    beyond = found.share > ROUNDING_FROM
    rounding = _one_step(model, graph, dropped, inputs) if beyond else None
    return {
        "error": found.share,
        "typical": found.typical,
        "rounding": rounding,
        "change": compared(whole, given).share,
    }


def _built(name: str, side: int | None) -> Any:
    from pipeline.keras_compat import keras

    build = getattr(keras.applications, name)
    settings: dict[str, Any] = {"weights": None}
    if side is None and name.startswith("MobileNetV3"):
        side = OPEN_SIZE
    if side is not None:
        settings["input_shape"] = (side, side, 3)
    model = build(**settings)
    # Not classifier_activation=None: some architectures take it where nobody sees it. A softmax
    # of random logits is a one among zeros, under which any difference disappears.
    model.layers[-1].activation = keras.activations.linear
    return model


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _apart(name: str, *what: str) -> dict[str, Any]:
    """What a process of its own measures, or what went wrong under ``failed``."""
    command = [sys.executable, "-m", "tests.benchmarks.channels", "--only", name, *what]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return {"name": name, "failed": f"{what[0]} took more than {TIMEOUT_S} s"}
    if done.returncode:
        last = (done.stderr.strip() or "no output").splitlines()[-1]
        return {"name": name, "failed": f"{what[0]}: exit code {done.returncode}: {last}"}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _kept_rows() -> dict[str, dict[str, Any]]:
    return json.loads(ROWS.read_text(encoding="utf-8")) if ROWS.exists() else {}


def _progress(name: str, row: dict[str, Any]) -> str:
    if "failed" in row:
        return f"{name:18} FAILED {row['failed']}\n"
    return (
        f"{name:18} {row['layers']:5} layers {row['groups']:4} groups "
        f"MACs -{_less(row, 'macs')} parameters -{_less(row, 'parameters')} "
        f"graph {row['analyse_s']:.2f} s removal {row['remove_s']:.1f} s cpu {row['cpu_s']:.1f} s "
        f"{row['rss_mb']:.0f} MB "
        f"law {'kept' if _keeps_law(row) else 'BROKEN'}, float64 {_share(row, 'exact')} float32 "
        f"{row['error']:.0e} (rounding {_share(row, 'rounding')}, typical {row['typical']:.2f}, "
        f"change {row['change']:.2f}) "
        f"{'predicted' if row['predicted_right'] else 'NOT PREDICTED'}\n"
    )


def _less(row: dict[str, Any], what: str) -> str:
    return f"{1 - row[what + '_after'] / row[what]:.0%}"


def _keeps_law(row: dict[str, Any]) -> bool:
    """In float32, or else in float64; by outputs that would show it if it were not so."""
    from pipeline.channels.law import TELLING, TOLERANCE

    single = row["error"] <= TOLERANCE and row["typical"] >= TELLING
    double = row.get("exact", 1.0) <= TOLERANCE and row.get("exact_typical", 0.0) >= TELLING
    return single or double


def _share(row: dict[str, Any], what: str) -> str:
    """A dash where it was not measured."""
    return "–" if row.get(what) is None else f"{row[what]:.0e}"


def render(rows: dict[str, dict[str, Any]]) -> str:
    """The page."""
    good = [row for _, row in sorted(rows.items()) if "failed" not in row]
    failed = [row for _, row in sorted(rows.items()) if "failed" in row]
    return "\n".join([
        "# Channel removal on tf_keras.applications",
        "",
        "Made by `python -m tests.benchmarks.channels`; do not edit.",
        "",
        f"Of every channel group {SHARE:.0%} of the channels, drawn at random, are removed from "
        "networks with random weights and random batch statistics. The error is the largest "
        "difference between the outputs of the smaller network and of the original whose kernels "
        "read zero in place of the removed channels, as a share of the largest output; the "
        "change is that to the untouched original. Networks end without softmax, which would "
        "hide errors: the typical output is the median as a share of the largest.",
        "",
        *_verdict(good, len(rows)),
        "",
        *_main_table(good),
        *[f"- {row['name']} failed: {row['failed']}" for row in failed],
        "",
        "Seconds and memory: one process each on a shared 2-core machine, TensorFlow on the "
        "CPU. Memory is the peak of the process, TensorFlow included: once the model is built "
        "and its weights are drawn in float64, and once the smaller one is beside it.",
        "",
        *_growth(rows),
        "",
        *_whole_table(good),
        "",
    ])  # fmt: skip


def _verdict(rows: list[dict[str, Any]], asked: int) -> list[str]:
    """What holds, in which precision, and where float32 alone says otherwise."""
    from pipeline.channels.law import TOLERANCE

    kept = sum(map(_keeps_law, rows))
    right = sum(row["predicted_right"] for row in rows)
    beyond = [row["name"] for row in rows if row["error"] > TOLERANCE]
    doubled = [row for row in rows if "exact" in row]
    above = [
        f"{row['name']} {row['exact']:.0e} ({_share(row, 'exact_rounding')})"
        for row in doubled
        if row["exact"] > EXACT
    ]
    return [
        f"- **The law (an error of at most {TOLERANCE:.0e}) is kept by {kept} of {asked} "
        f"architectures: by {len(rows) - len(beyond)} in float32 at their own input size, by "
        f"{kept - len(rows) + len(beyond)} only in float64.**",
        f"- MACs and parameters are exactly as predicted, without building the network, in "
        f"{right} of {asked}.",
        f"- Beyond it in float32: {', '.join(beyond) or 'none'}. These random weights make such "
        "networks amplify rounding: the column beside the error shows how far one float32 step "
        "of the input moves the zeroed original, from which no channel was removed (measured "
        f"where the error is above {ROUNDING_FROM:.0e}).",
        f"- In float64, with images of {EXACT_SIDE} pixels, {len(doubled)} were measured; the "
        f"error is above {EXACT:.0e} in {len(above)}: {', '.join(above) or 'none'}; in brackets "
        "what one float64 step of the input does. A dash is not measured.",
    ]


def _main_table(rows: list[dict[str, Any]]) -> list[str]:
    head = (
        "architecture | input | layers | groups | left whole | MMACs | parameters, millions | "
        "graph + removal, s | CPU s | peak MB | error, float64 | error, float32 | "
        "rounding | typical | change"
    )
    lines = [
        f"| {r['name']} | {r['side']} | {r['layers']} | {r['groups']} | {len(r['left_whole'])} | "
        f"{r['macs'] / 1e6:.0f} → {r['macs_after'] / 1e6:.0f} (−{_less(r, 'macs')}) | "
        f"{r['parameters'] / 1e6:.1f} → {r['parameters_after'] / 1e6:.1f} "
        f"(−{_less(r, 'parameters')}) | {r['analyse_s']:.2f} + {r['remove_s']:.1f} | "
        f"{r['cpu_s']:.1f} | "
        f"{r['rss_built_mb']:.0f} → {r['rss_mb']:.0f} | {_share(r, 'exact')} | "
        f"{r['error']:.0e} | {_share(r, 'rounding')} | {r['typical']:.2f} | {r['change']:.2f} |"
        for r in rows
    ]
    return [f"| {head} |", "|" + "---|" * (head.count("|") + 1), *lines]


def _growth(rows: dict[str, dict[str, Any]]) -> list[str]:
    found = [rows[name] for name in GROWTH if "layers" in rows.get(name, {})]
    return [
        "## Growth",
        "",
        "Seconds against the number of layers, within one family of networks:",
        "",
        "| architecture | layers | graph, ms | removal, s | CPU of both, s | CPU by layer, ms |",
        "|---|---|---|---|---|---|",
        *(
            f"| {r['name']} | {r['layers']} | {r['analyse_s'] * 1e3:.0f} | {r['remove_s']:.1f} | "
            f"{r['cpu_s']:.1f} | {r['cpu_s'] / r['layers'] * 1e3:.1f} |"
            for r in found
        ),
    ]


def _whole_table(rows: list[dict[str, Any]]) -> list[str]:
    """Which layers keep all channels, counted by cause; one layer of each cause as an example."""
    lines = []
    for row in rows:
        whole = row["left_whole"]
        causes = Counter(_cause(reason) for reason in whole.values())
        examples = {_cause(reason): f"{path}: {reason}" for path, reason in whole.items()}
        lines += [f"| {row['name']} | {n} | {examples[cause]} |" for cause, n in causes.items()]
    head = ["## Layers left whole", "", "| architecture | layers | such as |", "|---|---|---|"]
    return [*head, *lines]


def _cause(reason: str) -> str:
    return next((short for text, short in CAUSES.items() if text in reason), reason)


if __name__ == "__main__":
    main()
