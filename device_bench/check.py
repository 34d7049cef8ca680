"""Judges the phone's outputs: accuracy from the phone's own answers, parity with the host's."""

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from device_bench.record import Check, Parity
from pipeline.artifact import Accuracy, Artifact, Reference, TensorSpec

# Engines may order float sums differently (x86 FMA, Arm NEON); relative to the output's scale.
FLOAT_TOLERANCE = 1e-3
# Float16 files let engines sum in float16. Arm does and x86 does not: up to 3.4 % of the output's
# scale on emulated arm64. On the host's own kind of processor nothing differs.
FLOAT16_ELSEWHERE_TOLERANCE = 5e-2
_INCOMPARABLE = frozenset({"dynamic", "dynamic_conv"})  # activations are quantized while running
# The reference that is the same engine build as the phone's: int8 must match bit for bit.
SAME_ENGINE = "ai-edge-litert"

Values = npt.NDArray[np.float64]


def check_outputs(
    artifact: Artifact, outputs: Path, samples: int, *, like_host: bool = True
) -> Check:
    """Judge one run's outputs.

    Args:
        artifact: the variant that ran; its folder holds labels and the host's outputs.
        outputs: raw first output of each sample, back to back, in the model's output type.
        samples: how many of the test set's samples the phone was given (from the first on).
        like_host: whether the phone's processor is of the host's kind.

    Raises:
        ValueError: the file does not hold ``samples`` outputs.
    """
    content = outputs.read_bytes()
    found = _real(content, artifact.output, samples)
    parity = tuple(_parity(artifact, r, content, found, samples) for r in artifact.references)
    accuracy, reason = _accuracy(artifact, found, samples)
    return Check(
        samples=samples,
        outputs_sha256=hashlib.sha256(content).hexdigest(),
        accuracy=accuracy,
        accuracy_reason=reason,
        parity=parity,
        wrong=_wrong(artifact, found, parity, like_host),
    )


def _real(content: bytes, spec: TensorSpec, samples: int) -> Values:
    """float64[samples, elements]: outputs in real units (quantized ones are dequantized)."""
    if len(content) < samples * spec.bytes:
        raise ValueError(f"{len(content)} bytes do not hold {samples} outputs of {spec.bytes}")
    raw = np.frombuffer(content, dtype=np.dtype(spec.dtype), count=samples * spec.elements)
    values = raw.reshape(samples, spec.elements).astype(np.float64)
    return values if spec.scale is None else (values - (spec.zero_point or 0)) * spec.scale


def _accuracy(
    artifact: Artifact, found: Values, samples: int
) -> tuple[Accuracy | None, str | None]:
    if artifact.test.labels_file is None:
        return None, artifact.accuracy_reason or "the test set has no labels"
    if artifact.accuracy is None:
        return None, artifact.accuracy_reason
    labels = np.frombuffer(artifact.path(artifact.test.labels_file).read_bytes(), dtype="<i4")
    correct = int(np.sum(np.argmax(found, axis=1) == labels[:samples]))
    return Accuracy.of(correct, samples), None


def _parity(
    artifact: Artifact, reference: Reference, content: bytes, found: Values, samples: int
) -> Parity:
    if reference.outputs_file is None:
        return Parity(
            engine=reference.engine,
            samples=samples,
            bit_identical=None,
            max_abs_difference=None,
            argmax_agreement=None,
            reason=reference.reason,
        )
    expected_bytes = artifact.path(reference.outputs_file).read_bytes()
    expected = _real(expected_bytes, artifact.output, samples)
    size = samples * artifact.output.bytes
    agreement = np.mean(np.argmax(found, axis=1) == np.argmax(expected, axis=1))
    difference = float(np.max(np.abs(found - expected)))
    return Parity(
        engine=reference.engine,
        samples=samples,
        bit_identical=content[:size] == expected_bytes[:size],
        max_abs_difference=difference if np.isfinite(difference) else None,
        argmax_agreement=float(agreement),
        reason=None if np.isfinite(difference) else "outputs hold NaN or infinity",
    )


def _wrong(
    artifact: Artifact, found: Values, parity: tuple[Parity, ...], like_host: bool
) -> str | None:
    """Why the outputs cannot be used: such a variant is never recommended."""
    if not np.all(np.isfinite(found)):
        return "NaN or infinity on the phone"
    same = next((p for p in parity if p.engine.startswith(SAME_ENGINE)), None)
    if same is None or same.bit_identical or same.max_abs_difference is None:
        return None
    if artifact.format == "int8":
        return (
            f"int8 differs from the same engine on the host by up to "
            f"{same.max_abs_difference:.3g}, where it must be bit-identical"
        )
    scale = float(np.max(np.abs(found))) or 1.0
    own_sums = artifact.format == "float16" and not like_host
    tolerance = FLOAT16_ELSEWHERE_TOLERANCE if own_sums else FLOAT_TOLERANCE
    if artifact.format not in _INCOMPARABLE and same.max_abs_difference > tolerance * scale:
        return (
            f"differs from the host by up to {same.max_abs_difference:.3g} "
            f"on outputs of up to {scale:.3g}"
        )
    return None
