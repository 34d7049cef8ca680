"""Float files that leave zeros out: smaller on the phone, and faster where engines skip zeros.

Only float: the zeros of an int8 file take less room in the plain file after compression than
sparse-encoded, and sparse weights whose activations are quantized while running do not load.
The weights may be stored in float16; they are computed with in float32, as only so zeros are
skipped.
"""

import tempfile
from pathlib import Path
from typing import Final

from pipeline.artifact import MODEL_FILE, NumberFormat
from pipeline.errors import ConversionError
from pipeline.export import tflite
from pipeline.export.convert import Converted, Order
from pipeline.keras_compat import tf
from pipeline.sparse_path import SparsePath, sparse_path
from pipeline.tflite_file import TfliteModel, read_model

_STORED: Final = {
    NumberFormat.FLOAT32_SPARSE: NumberFormat.FLOAT32,
    NumberFormat.FLOAT16_SPARSE: NumberFormat.FLOAT16,
}
_INSTEAD: Final = (
    "end the network in GlobalAveragePooling2D, Flatten and Dense, with nothing but 1x1 and "
    "depthwise convolutions, additions and activations before (the stage sparse_topology rewrites "
    "what it can), or ask for {plain}, whose zeros make the download smaller all the same"
)


def make_sparse(order: Order) -> Converted:
    """Convert a model whose weights hold zeros to float32_sparse or float16_sparse.

    Facts are the layers whose zeros are left out.

    Raises:
        ConversionError: an operator has no TFLite form, no layer has zeros enough, or phones
            would compute the file wrongly (which no check on an x86 host can show).
    """
    plain = _STORED[order.number_format]
    converter = tflite.configured(order.model, plain)
    # Computing in float16, engines take their dense kernels.
    converter.target_spec._experimental_supported_accumulation_type = None
    converter.optimizations = [*converter.optimizations, tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    content = tflite.converted(converter, order.name, order.number_format)
    model = _read(content)
    if not model.encoded:
        reason = (
            f"no layer has zeros enough to leave them out (of all weights {model.sparsity:.0%} are "
            f"zero); raise prune_weights' sparsity, or ask for {plain}"
        )
        raise ConversionError(order.name, reason)
    path = sparse_path(model)
    if path.breaks is not None:
        raise ConversionError(order.name, f"{path.breaks}: {_INSTEAD.format(plain=plain)}")
    return Converted(
        content=content,
        facts={"encoded_layers": sorted(model.encoded)},
        warnings=_unused(path, model),
    )


def _read(content: bytes) -> TfliteModel:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / MODEL_FILE
        path.write_bytes(content)
        return read_model(path)


def _unused(path: SparsePath, model: TfliteModel) -> tuple[str, ...]:
    """A word about zeros that save bytes but no time."""
    if path.used:
        return ()
    largest = max(model.encoded, key=lambda name: model.weights[name].zeros)
    return (
        "its zeros make the file smaller but no inference faster, on no processor: "
        f"{largest}: {path.layers[largest]}",
    )
