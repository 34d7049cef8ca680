"""Which zeros an Arm processor skips: instructions of one inference, counted on an emulated phone.

Run by ``make bench-sparse``; prints a table and writes
out/bench-sparse-kernels.md. The phone is arm64 in QEMU, whose clock here counts instructions (one
is one nanosecond), so the figures are the same on any host. They tell WHICH kernel ran and how
much work it is, never how fast a phone is.
"""

import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from android_harness import phones, virtual
from android_harness.errors import ModelRejected
from android_harness.evidence import Fidelity
from android_harness.phone import Phone
from android_harness.runner.bundle import build_bundle
from android_harness.runner.options import RunnerOptions
from android_harness.session import Session
from android_harness.virtual.options import Options
from pipeline.artifact import NumberFormat, sha256_of
from pipeline.data import Data, Split
from pipeline.export import tflite
from pipeline.export.convert import Order, convert
from pipeline.export.size import zstd_bytes
from pipeline.keras_compat import keras, tf
from pipeline.recipe import Quantize
from pipeline.sparse_path import sparse_path
from pipeline.stages.evaluate import keras_outputs
from pipeline.stages.prune_weights import block_mask
from pipeline.stages.sparse_topology import rewritten
from pipeline.tflite_file import read_model
from pipeline.variant import difference, real, stored

layers = keras.layers
OUT = Path("out")
SIZE, ALPHA, CLASSES = 96, 0.5, 10
SPARSITY = 0.8
SAMPLES = 2
RUNS = 5
RUN_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One file, and what it was made of."""

    what: str
    model: Any  # Keras
    number_format: NumberFormat
    anyway: bool = False  # encoded though the pipeline refuses to


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table."""

    what: str
    file_bytes: int
    file_zstd_bytes: int
    expected: str  # what pipeline/sparse_path.py says
    instructions: float | None  # of one inference; None: the engine refused
    difference: float | None  # rms from Keras' answers, as a share of these


def main() -> None:
    """Convert, run on the emulated phone, and print the table."""
    with tempfile.TemporaryDirectory() as folder, emulated() as session:
        rows = [measured(case, Path(folder), session) for case in cases()]
    table = render(rows)
    OUT.mkdir(exist_ok=True)
    (OUT / "bench-sparse-kernels.md").write_text(table, encoding="utf-8")
    sys.stdout.write(table)


def cases() -> Iterator[Case]:
    """One network of random weights in every way its zeros may be stored."""
    keras.utils.set_random_seed(1)
    built = keras.applications.MobileNet(
        (SIZE, SIZE, 3), alpha=ALPHA, weights=None, classes=CLASSES, classifier_activation=None
    )
    model, _ = rewritten(settled(built))
    zeros, few, blocks = pruned(model, SPARSITY), pruned(model, 0.65), pruned(model, SPARSITY, 4)
    share = f"{SPARSITY:.0%} zeros"
    float32, sparse32 = NumberFormat.FLOAT32, NumberFormat.FLOAT32_SPARSE
    yield Case(what="dense float32", model=model, number_format=float32)
    yield Case(what=f"{share}, float32 as ever", model=zeros, number_format=float32)
    yield Case(what=f"{share}, float32_sparse", model=zeros, number_format=sparse32)
    yield Case(what=f"{share} in blocks of 1 x 4, sparse", model=blocks, number_format=sparse32)
    yield Case(what="65% zeros, float32_sparse", model=few, number_format=sparse32)
    unchanged = pruned(built, SPARSITY)
    yield Case(what=f"{share}, padding 'same', sparse", model=unchanged, number_format=sparse32)
    float16, sparse16 = NumberFormat.FLOAT16, NumberFormat.FLOAT16_SPARSE
    yield Case(what="dense float16", model=model, number_format=float16)
    yield Case(what=f"{share}, float16 as ever", model=zeros, number_format=float16)
    yield Case(what=f"{share}, float16_sparse", model=zeros, number_format=sparse16)
    yield Case(what="dense int8", model=model, number_format=NumberFormat.INT8)
    yield Case(what=f"{share}, int8", model=zeros, number_format=NumberFormat.INT8)
    for what, wrong in (("1x1 head", with_head()), ("pooling inside", with_pooling())):
        what = f"{share}, {what}, sparse against the rules"
        yield Case(what=what, model=wrong, number_format=sparse32, anyway=True)


def with_head() -> Any:
    """A network that ends in a 1x1 convolution behind its mean."""
    x = layers.GlobalAveragePooling2D(keepdims=True)((begun := beginning()).output)
    x = layers.Flatten()(layers.Conv2D(CLASSES, 1)(x))
    return pruned(keras.Model(begun.input, x), SPARSITY)


def with_pooling() -> Any:
    """A network with an operator inside that cannot be computed channel by channel."""
    x = layers.MaxPooling2D(3, 1, "same")((begun := beginning()).output)
    x = layers.Conv2D(64, 1, activation="relu")(layers.DepthwiseConv2D(3, padding="same")(x))
    x = layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x))
    return pruned(keras.Model(begun.input, x), SPARSITY)


def beginning() -> Any:
    """The first layers of a network that engines take for a sparse one."""
    inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(16, 3, 2, activation="relu")(layers.ZeroPadding2D(1)(inputs))
    x = layers.Conv2D(64, 1, activation="relu")(layers.DepthwiseConv2D(3, padding="same")(x))
    return keras.Model(inputs, layers.DepthwiseConv2D(3, padding="same", activation="relu")(x))


def images(count: int, seed: int) -> Any:
    """Random images float32[count, SIZE, SIZE, 3]."""
    return np.random.default_rng(seed).normal(size=(count, SIZE, SIZE, 3)).astype(np.float32)


def settled(model: Any) -> Any:
    """Give BatchNorm the statistics of its random layers, so that signals do not fade."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(images(16, seed=3), training=True)
    return model


def pruned(model: Any, share: float, outputs: int = 1) -> Any:
    """A copy whose 1x1 kernels hold zeros, ``outputs`` neighbours together."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for layer in copy.layers:
        if type(layer) is keras.layers.Conv2D and layer.kernel_size == (1, 1):
            kernel = layer.kernel.numpy()
            layer.kernel.assign(kernel * block_mask(kernel, (1, outputs), share))
    return settled(copy)


@contextmanager
def emulated() -> Iterator[Session]:
    """A session on an arm64 phone whose clock counts instructions."""
    counting = Options(instruction_clock_shift=0)
    with (
        virtual.start(Fidelity.EMULATED, options=counting) as phone,
        phones.connect(f"{phone.host}:{phone.port}") as transport,
        Session(Phone(transport), "sparse-kernels") as session,
    ):
        session.install(build_bundle("arm64-v8a"))
        yield session


def measured(case: Case, folder: Path, session: Session) -> Row:
    """Convert one case, look at its file, and run it."""
    inputs = images(SAMPLES, seed=5)
    data = Data(train=Split(inputs=images(32, seed=4)), test=Split(inputs=inputs))
    order = Order(
        model=case.model, number_format=case.number_format, data=data, quantize=Quantize(),
        name=case.what,
    )  # fmt: skip
    content = encoded_anyway(case.model) if case.anyway else convert(order).content
    file, given = folder / "model.tflite", folder / "inputs.bin"
    file.write_bytes(content)
    model = read_model(file)
    given.write_bytes(stored(inputs, model.spec(model.inputs[0])).tobytes())
    path, taken = sparse_path(model), model.spec(model.outputs[0])
    row = Row(
        what=case.what, file_bytes=len(content), file_zstd_bytes=zstd_bytes(content),
        expected="skipped wrongly" if path.breaks else "skipped" if path.used else "multiplied",
        instructions=None, difference=None,
    )  # fmt: skip
    try:
        latency_us = run(file, given, session)
    except ModelRejected:
        return row
    answers = folder / "outputs.bin"
    session.fetch("outputs.bin", answers, SAMPLES * taken.bytes)
    outputs = real(np.fromfile(answers, taken.dtype).reshape(SAMPLES, -1), taken)
    far = difference(outputs, keras_outputs(case.model, inputs))
    return replace(row, instructions=latency_us * 1000, difference=far)


def encoded_anyway(model: Any) -> bytes:
    """A sparse file as the converter makes it, unchecked."""
    converter = tflite.configured(model, NumberFormat.FLOAT32)
    converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    return tflite.converted(converter, model.name, NumberFormat.FLOAT32_SPARSE)


def run(file: Path, given: Path, session: Session) -> float:
    """Median latency by the instruction clock, in µs."""
    model, inputs = (session.put(path, sha256_of(path)) for path in (file, given))
    options = RunnerOptions(
        warmup_count=1, warmup_s=0.0, min_runs=RUNS, min_s=0.0, max_runs=RUNS, pss=False,
        input_path=inputs.path, output_path=session.remote("outputs.bin"),
    )  # fmt: skip
    ran = session.run(model, options, timeout_s=RUN_S)
    return statistics.median(ran.report.latency_us)


def render(rows: list[Row]) -> str:
    """The table as Markdown, with the network and what the figures are not."""
    head = (
        f"MobileNet, alpha {ALPHA}, {SIZE} x {SIZE}, random weights, rewritten by sparse_topology; "
        "zeros in its 1x1 convolutions. The last two files are of smaller networks, which the "
        "pipeline refuses to encode.\n\n"
        "Instructions of one inference, counted on an emulated arm64 phone: which kernel ran, and "
        "how much work it is. Not latency.\n\n"
        "| file | bytes | zstd | zeros expected to be | million instructions | rms from Keras |\n"
        "|---|---|---|---|---|---|\n"
    )
    return head + "".join(map(line, rows))


def line(row: Row) -> str:
    """One line of the table."""
    work = "engine refuses" if row.instructions is None else f"{row.instructions / 1e6:.2f}"
    far = "-" if row.difference is None else f"{row.difference:.1e}"
    sizes = f"{row.file_bytes} | {row.file_zstd_bytes}"
    return f"| {row.what} | {sizes} | {row.expected} | {work} | {far} |\n"


if __name__ == "__main__":
    main()
