"""Zeros: made while training, left out of the file, and where engines would skip them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from pipeline.artifact import NumberFormat
from pipeline.data import Data, Split
from pipeline.errors import ConversionError, DataError
from pipeline.export import tflite
from pipeline.export.convert import Converted, Order
from pipeline.export.sparse import make_sparse
from pipeline.keras_compat import keras
from pipeline.recipe import Quantize
from pipeline.settings import PruneWeights, SparseTopology
from pipeline.sparse_path import NO_KERNEL, USED, sparse_path
from pipeline.stages import prune_weights, sparse_topology
from pipeline.stages.given import Given, Outcome
from pipeline.stages.prune_weights import Ramp, block_mask
from pipeline.tflite_file import TfliteModel, read_model

pytestmark = [
    pytest.mark.slow,
    # tensorflow_model_optimization compares TensorFlow's version while it is imported.
    pytest.mark.filterwarnings("ignore:distutils Version classes are deprecated"),
]
layers = keras.layers
SIDE = 16
DEPTHWISE = "DepthwiseConv2D: only kernels of Conv2D and Dense layers are pruned"
PAD_1 = "padded by 1 on every side instead of 'same'"


def network(
    side: int = SIDE, channels: int = 3, pad: bool = False, head: str = "dense", extra: Any = None
) -> Any:
    """Stem, two depthwise blocks, mean, head; ``extra`` is a layer between the blocks."""

    def strided(x: Any, layer: Callable[[str], Any]) -> Any:
        return layer("valid")(layers.ZeroPadding2D(1)(x)) if pad else layer("same")(x)

    inputs = keras.Input((side, side, channels), name="image")
    x = strided(inputs, lambda p: layers.Conv2D(8, 3, 2, p, activation="relu", name="stem"))
    x = layers.Conv2D(24, 1, activation="relu", name="expand")(x)
    x = x if extra is None else extra(x)
    x = strided(x, lambda p: layers.DepthwiseConv2D(3, 2, p, name="depthwise"))
    x = layers.Conv2D(64, 1, activation="relu", name="project")(x)
    if head == "dense":
        x = layers.GlobalAveragePooling2D(name="mean")(x)
        return keras.Model(inputs, layers.Dense(2, name="logits")(x), name="net")
    x = layers.GlobalAveragePooling2D(keepdims=True, name="mean")(x)
    return keras.Model(inputs, layers.Flatten()(layers.Conv2D(2, 1, name="logits")(x)), name="net")


def noise(side: int = SIDE, channels: int = 3) -> Data:
    inputs = np.random.default_rng(2).normal(size=(64, side, side, channels)).astype(np.float32)
    split = Split(inputs=inputs, labels=np.arange(64) % 2)
    return Data(train=split, test=split)


def prune(model: Any, **asked: Any) -> Outcome:
    settings = PruneWeights.model_validate(
        {"stage": "prune_weights", "epochs": 2, "batch": 16, "learning_rate": 1e-2} | asked
    )
    return prune_weights.run(settings, Given(model=model, data=noise(), seed=3))


def kernel(model: Any, name: str) -> Any:
    return model.get_layer(name).kernel.numpy()


@pytest.fixture(scope="module")
def padded() -> Any:
    keras.utils.set_random_seed(7)
    return network(pad=True)


@pytest.fixture(scope="module")
def pruned(padded: Any) -> Outcome:
    return prune(padded, sparsity=0.8, ramp=1.0)


def sparse(model: Any, number_format: NumberFormat = NumberFormat.FLOAT32_SPARSE) -> Converted:
    data = noise(channels=model.input_shape[-1])
    return make_sparse(
        Order(
            model=model, number_format=number_format, data=data, quantize=Quantize(), name="net_v"
        )
    )


def read(content: bytes, folder: Path) -> TfliteModel:
    path = folder / "m.tflite"
    path.write_bytes(content)
    return read_model(path)


def zeroed(model: Any, share: float = 0.8) -> Any:
    """``model`` itself, with zeros in its 1x1 convolutions."""
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D) and layer.kernel_size == (1, 1):
            values = layer.kernel.numpy()
            layer.kernel.assign(values * block_mask(values, (1, 1), share))
    return model


def test_each_layer_gets_the_zeros_asked_for(padded: Any, pruned: Outcome) -> None:
    """Though the ramp's end, step 8 of 8, is no step of the training."""
    by_layer = pruned.facts["sparsity_by_layer"]
    assert set(by_layer) == {"stem", "expand", "project", "logits"}
    for name, share in by_layer.items():
        assert share == pytest.approx(0.8, abs=0.01), name
        assert share == (kernel(pruned.model, name) == 0).mean()
    assert pruned.facts["left_out"] == {"depthwise": DEPTHWISE}
    assert pruned.warnings == ()
    assert (kernel(padded, "project") != 0).all()  # what was given is left alone


def test_n_of_m_zeros_lie_among_neighbouring_inputs(padded: Any) -> None:
    outcome = prune(padded, sparsity=0.5, pattern="n_of_m")
    for name in ("expand", "project", "logits"):
        zero = kernel(outcome.model, name) == 0
        inputs, outputs = zero.shape[-2:]
        assert (zero.reshape(inputs // 4, 4, outputs).sum(1) == 2).all(), name
    along_outputs = (kernel(outcome.model, "project") == 0).reshape(-1, 4).sum(1)
    assert (along_outputs != 2).any()
    assert outcome.facts["left_out"] == {
        "stem": "its 3 inputs are fewer than the pattern's 4", "depthwise": DEPTHWISE,
    }  # fmt: skip
    assert outcome.warnings == ()


def test_blocks_are_zero_together(padded: Any) -> None:
    outcome = prune(padded, sparsity=0.75, pattern="block", block=(2, 4))
    for name in ("expand", "project"):
        inputs, outputs = kernel(outcome.model, name).shape[-2:]
        zero = (kernel(outcome.model, name) == 0).reshape(inputs // 2, 2, outputs // 4, 4)
        zeros = zero.sum((1, 3))
        assert set(zeros.flat) == {0, 8}, name
        assert (zeros == 8).mean() == 0.75
    assert outcome.facts["left_out"] == {"depthwise": DEPTHWISE}


def test_the_smallest_blocks_go_and_edges_count_by_their_mean() -> None:
    values = np.array([[1, 1, 9], [1, 1, 9], [4, 4, 0.5]], np.float32)
    mask = block_mask(values, (2, 2), 0.5)
    assert mask.tolist() == [[0, 0, 1], [0, 0, 1], [1, 1, 0]]


def test_the_ramp_ends_where_zeros_change() -> None:
    settings = PruneWeights(stage="prune_weights", epochs=1, sparsity=0.8, ramp=0.5, every_steps=8)
    ramp = Ramp.of(settings, 90)
    assert (ramp.end_step, ramp.share(0), ramp.share(40)) == (40, 0.0, 0.8)
    assert [step for step in range(90) if ramp.changes_at(step)] == [0, 8, 16, 24, 32, 40]
    assert ramp.share(20) == pytest.approx(0.8 * (1 - 0.5**3))


def test_a_training_too_short_for_its_zeros_says_so(padded: Any) -> None:
    outcome = prune(padded, sparsity=0.9, pattern="block", epochs=1, batch=64)
    assert outcome.facts["sparsity"] == 0.0
    assert outcome.warnings == (
        "of the pruned layers' weights 0.0% are zero, not 90.0%; more epochs or smaller batches "
        "give the zeros steps to grow in",
    )


@pytest.mark.parametrize(
    ("number_format", "tolerance"),
    [(NumberFormat.FLOAT32_SPARSE, 1e-5), (NumberFormat.FLOAT16_SPARSE, 5e-3)],
)
def test_sparse_files_hold_fewer_bytes_and_the_same_weights(
    pruned: Outcome, tmp_path: Path, number_format: NumberFormat, tolerance: float
) -> None:
    made = sparse(pruned.model, number_format)
    model = read(made.content, tmp_path)
    plain = tflite.convert(pruned.model, NumberFormat(number_format.removesuffix("_sparse")))
    assert len(made.content) < len(plain)
    assert model.number_format is number_format
    assert set(made.facts["encoded_layers"]) >= {"expand", "project"}
    assert model.parameters == read(plain, tmp_path).parameters
    for name in ("expand", "project"):
        assert model.sparsity_by_layer[name] == pruned.facts["sparsity_by_layer"][name]
    path = sparse_path(model)
    assert (path.layers["expand"], path.layers["stem"]) == (USED, NO_KERNEL)
    assert made.warnings == ()
    assert b"accfp16" not in made.content  # so the engine would compute by dense kernels
    inputs = noise().test.inputs[:1]
    interpreter = Interpreter(model_content=made.content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], inputs)
    interpreter.invoke()
    answer = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(answer, pruned.model(inputs), atol=tolerance)


def test_zeros_that_save_no_time_are_told() -> None:
    made = sparse(zeroed(network(pad=True, channels=1)))
    assert made.warnings == (
        "its zeros make the file smaller but no inference faster, on no processor: project: "
        "behind stem (CONV_2D): it takes 1 channel(s), not 3",
    )


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: network(pad=True), "no layer has zeros enough"),
        (lambda: zeroed(network(pad=True, head="conv")), r"ends in logits .* on Arm.*Flatten"),
        (
            lambda: zeroed(network(pad=True, extra=layers.MaxPooling2D(2, 1, "same"))),
            r"ends in expand .* on Arm.*sparse_topology",
        ),
    ],
)  # fmt: skip
def test_what_phones_would_get_wrong_is_refused(model: Callable[[], Any], message: str) -> None:
    """No x86 host computes these files wrongly; Arm does (tests/benchmarks/sparse_kernels.py)."""
    with pytest.raises(ConversionError, match=message):
        sparse(model())


def test_a_rewritten_network_computes_the_same_where_padding_is_alike() -> None:
    """On 17 pixels ``same`` adds one on every side, too."""
    model = network(side=17, head="conv")
    made, changes = sparse_topology.rewritten(model)
    assert changes == {
        "mean": "gives no one-pixel image any more", "logits": "Dense instead of a 1x1 Conv2D",
        "stem": PAD_1, "depthwise": PAD_1,
    }  # fmt: skip
    inputs = noise(side=17).test.inputs[:4]
    np.testing.assert_allclose(made(inputs), model(inputs), atol=1e-6)
    assert made.count_params() == model.count_params()


def test_padding_on_two_sides_is_mended_in_place() -> None:
    inputs = keras.Input((16, 16, 3))
    x = layers.ZeroPadding2D(((0, 1), (0, 1)), name="pad")(inputs)
    x = layers.Conv2D(8, 3, 2, "valid", name="stem")(x)
    made, changes = sparse_topology.rewritten(keras.Model(inputs, x))
    assert changes == {"pad": "pads by 1 on every side"}
    assert made.get_layer("pad").padding == ((1, 1), (1, 1))


def test_a_rewritten_network_uses_its_zeros(tmp_path: Path) -> None:
    model = network(head="conv")
    before = model.get_weights()
    settings = SparseTopology(stage="sparse_topology", epochs=1, batch=16)
    outcome = sparse_topology.run(settings, Given(model=model, data=noise(), seed=1))
    assert set(outcome.facts["rewritten"]) == {"mean", "logits", "stem", "depthwise"}
    assert outcome.facts["loss"] > 0
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))
    made = sparse(zeroed(outcome.model))
    path = sparse_path(read(made.content, tmp_path))
    assert (path.layers["expand"], path.layers["project"], path.breaks) == (USED, USED, None)


@pytest.mark.parametrize(
    ("model", "side", "message"),
    [
        (lambda: network(channels=1), 16, "expand, project: behind stem .*repeat the one channel"),
        (
            lambda: network(extra=layers.MaxPooling2D(2, 1, "same")), 16,
            "project: behind MAX_POOL_2D",
        ),
        (lambda: network(side=17), 17, "as any padding of an odd size becomes"),
    ],
)  # fmt: skip
def test_what_cannot_be_rewritten_is_named(
    model: Callable[[], Any], side: int, message: str
) -> None:
    settings = SparseTopology(stage="sparse_topology", epochs=1)
    with pytest.raises(DataError, match=message):
        sparse_topology.run(settings, Given(model=model(), data=noise(side), seed=1))
