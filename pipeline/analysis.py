"""Find out what a trained model has too much of, by changing one thing at a time.

One working copy answers all questions: weights are set in place and put back, so that it is traced
once. Nothing is trained.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, final

import numpy as np
from numpy.typing import NDArray

from pipeline.artifact import NumberFormat
from pipeline.cache import Entry
from pipeline.channels.cost import cost_of
from pipeline.channels.graph import ChannelGraph, Slot, analyse, layer_at
from pipeline.channels.layout import Axis, Weight, groups_of, read_as_zero, weights_of
from pipeline.channels.network import flatten
from pipeline.channels.score import score
from pipeline.channels.sensitivity import REMOVED, lowest
from pipeline.data import Data, Split
from pipeline.errors import ConversionError, NotPrunable, ReferenceFailed, StageFailed
from pipeline.export.convert import Order, convert
from pipeline.export.size import zstd_bytes
from pipeline.findings import (
    Archive,
    Findings,
    Group,
    Int8,
    Judged,
    Layer,
    Size,
    Standard,
    Trial,
)
from pipeline.keras_compat import copy_of, keras
from pipeline.module import load_module
from pipeline.recipe import Recipe
from pipeline.reference.process import LITERT, run_engine
from pipeline.stages.evaluate import count_correct, keras_outputs, spread
from pipeline.tflite_file import read_model
from pipeline.variant import difference, real, stored
from pipeline.work import MODEL

SPARSITIES: Final = (0.5, 0.7, 0.8, 0.9)
# One judgement costs about as many multiplications, some seconds on a desktop processor; hundreds
# are made. Fewer than 64 samples tell points apart no more.
BUDGET_MACS: Final = 20_000_000_000
MOST_SAMPLES: Final = 512
FEWEST_SAMPLES: Final = 64
_STEPS: Final = 127  # of int8 on each side of zero

# Told about each answer: how many of how many there are, and what was asked.
Tell = Callable[[int, int, str], None]
Weights = list[NDArray[Any]]
Changes = Mapping[str, Weights]  # by path of the layer


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model to be analysed, with what belongs to it."""

    recipe: Recipe
    branch: str
    model: Any
    data: Data
    warnings: tuple[str, ...] = ()


def opened(recipe: Recipe, branch: str, entry: Entry) -> Subject:
    """Load a branch's kept model and the recipe's data.

    Raises:
        RecipeError, DataError, StageFailed: the recipe's model.py cannot be used.
    """
    module = load_module(recipe)
    data = module.load_data()
    with keras.utils.custom_object_scope(module.classes()):
        # safe_mode refuses Lambda layers; this file is made from the recipe's own code.
        model = keras.models.load_model(entry.folder / MODEL, compile=False, safe_mode=False)
    reason = entry.facts["accuracy_reason"]
    said = () if reason is None else (f"accuracy may not be stated for this model: {reason}",)
    return Subject(
        recipe=recipe, branch=branch, model=model, data=data,
        warnings=(*said, *entry.facts["warnings"], *data.warnings),
    )  # fmt: skip


def measure(subject: Subject, archive: Archive, tell: Tell) -> Findings:
    """Ask everything that was not asked before, and put the answers together.

    Args:
        subject: its model is not changed.
        archive: where answers are kept as they come, and the findings at the end.
        tell: heard after each answer.

    Raises:
        NotPrunable: the model has no graph of layers, no kernel, or an input of unknown size.
        StageFailed: the model's outputs are no numbers.
    """
    findings = _Analysis(subject, archive, tell).findings()
    archive.keep(findings)
    return findings


def kernels_of(model: Any) -> dict[str, Any]:
    """Layers whose weights multiply what they read, by path, in the order of computation."""
    layers = {call.path: call.layer for call in flatten(model).calls}
    return {p: layer for p, layer in layers.items() if any(w.multiplies for w in weights_of(layer))}


def macs_of(model: Any) -> dict[str, int]:
    """Multiplications of each layer with a kernel, by path; ``cost_of`` gives their sum."""
    found: dict[str, int] = {}
    for call in flatten(model).calls:
        size = sum(int(np.prod(w.shape)) for w in weights_of(call.layer) if w.multiplies)
        if size:
            transposed = type(call.layer).__name__.endswith("Transpose")
            shape = (call.inputs if transposed else call.outputs)[0].shape[1:-1]
            # cost_of() has refused unknown sizes
            positions = int(np.prod([n for n in shape if n is not None]))
            found[call.path] = found.get(call.path, 0) + positions * size
    return found


def silenced(model: Any, graph: ChannelGraph, group: str, units: list[int]) -> dict[str, Weights]:
    """Weights with which all that reads some units of a group finds zeros there.

    As ``rewrite.zeroed``, but without a copy of the model for each question.
    """
    found = next(each for each in graph.groups if each.name == group)
    return {
        slot.layer: read_as_zero(layer_at(model, slot.layer), _channels(slot, units))
        for slot in found.consumers
    }


def thinned(layer: Any, sparsity: float) -> Weights:
    """The layer's weights with the smallest of each kernel at zero."""

    def thin(value: NDArray[Any], _: Weight) -> NDArray[Any]:
        flat = value.ravel().copy()
        flat[np.argsort(np.abs(flat), kind="stable")[: round(sparsity * flat.size)]] = 0
        return flat.reshape(value.shape)

    return _with_kernels(layer, thin)


def rounded(layer: Any) -> Weights:
    """The layer's weights with its kernels rounded to int8, symmetric, a scale for each channel.

    Source: TensorFlow Lite 8-bit quantization specification (per-axis weights, -127 to 127).
    """

    def round_(value: NDArray[Any], weight: Weight) -> NDArray[Any]:
        made = {axis for axis, runs in weight.axes.items() if runs is Axis.MADE}
        own = made or {*weight.axes, value.ndim - 1}  # depthwise: channels read, and times each
        over = tuple(axis for axis in range(value.ndim) if axis not in own)
        scale = np.abs(value).max(axis=over, keepdims=True) / _STEPS
        scale[scale == 0] = 1
        steps: NDArray[Any] = np.round(value / scale) * scale
        return steps.astype(value.dtype)

    return _with_kernels(layer, round_)


def _only(path: str, make: Callable[[], Weights]) -> Changes:
    return {path: make()}


def _with_kernels(layer: Any, change: Callable[[NDArray[Any], Weight], NDArray[Any]]) -> Weights:
    pairs = zip(layer.get_weights(), weights_of(layer), strict=True)
    return [change(value, weight) if weight.multiplies else value for value, weight in pairs]


def _channels(slot: Slot, units: list[int]) -> NDArray[Any]:
    return np.asarray(sorted(index for unit in units for index in slot.indices[unit]))


@final
class _Jury:
    """A working copy of the model, asked about the same samples again and again."""

    def __init__(self, model: Any, split: Split, samples: int) -> None:
        chosen = spread(len(split.inputs), samples)
        self._working, self.inputs = copy_of(model), split.inputs[chosen]
        self._unchanged = self._outputs()
        if not np.isfinite(self._unchanged).all():
            reason = "the model's outputs are infinite or no numbers; train it again"
            raise StageFailed(model.name, "analysis", reason)
        known = split.labels is not None
        self._labels = split.labels[chosen] if known else self._unchanged.argmax(axis=1)  # type: ignore[index]

    def accuracy(self) -> float:
        """Of the unchanged model."""
        return self.judged(self._unchanged).accuracy

    def asked(self, changes: Changes) -> Judged:
        """What the model does with other weights; they are put back."""
        before = {path: layer_at(self._working, path).get_weights() for path in changes}
        try:
            self._set(changes)
            return self.judged(self._outputs())
        finally:
            self._set(before)

    def judged(self, outputs: NDArray[Any]) -> Judged:
        """Outputs float[samples, classes] held against the labels and the unchanged ones."""
        error = difference(outputs, self._unchanged)
        return Judged(
            accuracy=count_correct(outputs, self._labels) / len(outputs),
            error=error if np.isfinite(error) else None,
        )

    def _set(self, changes: Changes) -> None:
        for path, weights in changes.items():
            layer_at(self._working, path).set_weights(weights)

    def _outputs(self) -> NDArray[Any]:
        return keras_outputs(self._working, self.inputs).reshape(len(self.inputs), -1)


@final
class _Analysis:
    """One run of measure()."""

    def __init__(self, subject: Subject, archive: Archive, tell: Tell) -> None:
        self._subject, self._archive, self._tell = subject, archive, tell
        self._cost = cost_of(subject.model)
        if not self._cost.macs:
            raise NotPrunable(subject.model.name, "it has no layer with a kernel to analyse")
        self._graph, self._no_groups = _graph_of(subject.model)
        self._split_name, split = _split_of(subject.data)
        self._standard = Standard.OWN_ANSWERS if split.labels is None else Standard.LABELS
        wanted = BUDGET_MACS // self._cost.macs
        samples = min(max(wanted, FEWEST_SAMPLES), MOST_SAMPLES)
        self._jury = _Jury(subject.model, split, samples)

    def findings(self) -> Findings:
        subject, model = self._subject, self._subject.model
        answers = self._answers(dict(self._questions()))
        int8, sizes = self._converted()
        self._tell(len(answers) + 1, len(answers) + 1, "done")
        return Findings(
            recipe=subject.recipe.name, branch=subject.branch, standard=self._standard,
            split=self._split_name, samples=len(self._jury.inputs),
            trainable=subject.data.train.labels is not None, accuracy=self._jury.accuracy(),
            macs=self._cost.macs, parameters=self._cost.parameters,
            groups=tuple(
                Group(
                    name=group.name, channels=group.channels,
                    trials=_trials(answers, f"group {group.name}", REMOVED),
                )
                for group in self._graph.groups
            ),
            groups_reason=self._no_groups, left_whole=dict(self._graph.left_whole),
            left_out=_left_out(model), layers=self._layers(answers), int8=int8,
            float32_size=sizes.get(NumberFormat.FLOAT32), int8_size=sizes.get(NumberFormat.INT8),
            warnings=subject.warnings,
        )  # fmt: skip

    def _questions(self) -> Iterator[tuple[str, Callable[[], Changes]]]:
        """What is asked, with how the weights are to be for it."""
        model, graph = self._subject.model, self._graph
        scores = score(model, graph, "l1", self._subject.data, self._subject.recipe.seed).units
        for group in graph.groups:
            for share in REMOVED:
                units = lowest(scores[group.name], round(group.channels * share))
                silence = partial(silenced, model, graph, group.name, units)
                yield f"group {group.name} without {share:.0%}", silence
        for path, layer in kernels_of(model).items():
            for share in SPARSITIES:
                thin = partial(_only, path, partial(thinned, layer, share))
                yield f"layer {path} without {share:.0%}", thin
            yield f"layer {path} in int8", partial(_only, path, partial(rounded, layer))

    def _answers(self, questions: Mapping[str, Callable[[], Changes]]) -> dict[str, Judged]:
        answers: dict[str, Judged] = {}
        total = len(questions) + 1  # the conversion
        for done, (question, changes) in enumerate(questions.items()):
            self._tell(done, total, question)
            known = self._archive.judged(question)
            if known is None:
                known = self._jury.asked(changes())
                self._archive.note(question, known)
            answers[question] = known
        self._tell(len(questions), total, "the whole model in int8")
        return answers

    def _layers(self, answers: Mapping[str, Judged]) -> tuple[Layer, ...]:
        model = self._subject.model
        macs, reads, makes = macs_of(model), *_tied(model, self._graph)
        return tuple(
            Layer(
                name=path, macs=macs[path], weights=_kernel_size(layer),
                reads=reads.get(path, {}), makes=makes.get(path, {}),
                trials=_trials(answers, f"layer {path}", SPARSITIES),
                int8=answers[f"layer {path} in int8"],
            )
            for path, layer in kernels_of(model).items()
        )  # fmt: skip

    def _converted(self) -> tuple[Int8, dict[NumberFormat, Size]]:
        """The whole model in int8, and the sizes of both files."""
        sizes: dict[NumberFormat, Size] = {}
        try:
            for number_format in (NumberFormat.FLOAT32, NumberFormat.INT8):
                content = convert(self._order(number_format)).content
                sizes[number_format] = Size(bytes=len(content), bytes_zstd=zstd_bytes(content))
            return Int8(judged=self._jury.judged(self._answered(content))), sizes
        except (ConversionError, ReferenceFailed) as exc:
            return Int8(reason=str(exc)), sizes

    def _order(self, number_format: NumberFormat) -> Order:
        subject = self._subject
        return Order(
            model=subject.model, number_format=number_format, data=subject.data,
            quantize=subject.recipe.quantize, name=f"{subject.branch}_{number_format}",
        )  # fmt: skip

    def _answered(self, content: bytes) -> NDArray[Any]:
        """Real outputs of a .tflite for the jury's samples, from LiteRT in a process of its own."""
        with tempfile.TemporaryDirectory(prefix="deploy-bench-") as name:
            path, inputs, outputs = (Path(name) / n for n in ("model.tflite", "in", "out"))
            path.write_bytes(content)
            model = read_model(path)
            taken, given = model.spec(model.inputs[0]), model.spec(model.outputs[0])
            inputs.write_bytes(stored(self._jury.inputs, taken).tobytes())
            run_engine(LITERT, path, inputs, outputs)
            found = np.fromfile(outputs, given.dtype).reshape(len(self._jury.inputs), -1)
            return real(found, given)


def _graph_of(model: Any) -> tuple[ChannelGraph, str | None]:
    """The channel graph; an empty one with the reason when no channel can be removed."""
    flatten(model)  # without a graph of layers there is nothing to analyse, and it says so
    try:
        return analyse(model), None
    except NotPrunable as exc:
        return ChannelGraph((), {}), exc.reason


def _split_of(data: Data) -> tuple[Literal["validation", "training"], Split]:
    """Never the test split: what is chosen by it would look better on it."""
    return ("training", data.train) if data.validation is None else ("validation", data.validation)


def _tied(model: Any, graph: ChannelGraph) -> tuple[dict[str, dict[str, float]], ...]:
    """For each layer the shares of channels it reads and makes, by the group they belong to."""
    reads: dict[str, dict[str, float]] = {}
    makes: dict[str, dict[str, float]] = {}
    for group in graph.groups:
        for slot in (*group.consumers, *group.producers):
            layer = layer_at(model, slot.layer)
            kinds = {runs for w in weights_of(layer) if w.multiplies for runs in w.axes.values()}
            reading = slot in group.consumers
            if reading and groups_of(layer) > 1:
                continue  # what a group of a convolution reads stays as wide
            side = reads if reading or Axis.MADE not in kinds else makes
            shape = layer.get_input_shape_at(0) if reading else layer.get_output_shape_at(0)
            share = sum(map(len, slot.indices)) / shape[-1]
            side.setdefault(slot.layer, {})[group.name] = share
    return reads, makes


def _kernel_size(layer: Any) -> int:
    return sum(int(np.prod(w.shape)) for w in weights_of(layer) if w.multiplies)


def _trials(
    answers: Mapping[str, Judged], what: str, shares: tuple[float, ...]
) -> tuple[Trial, ...]:
    return tuple(
        Trial(share=share, accuracy=answers[f"{what} without {share:.0%}"].accuracy)
        for share in shares
    )


def _left_out(model: Any) -> dict[str, str]:
    """Layers with matrices of weights whose layout is not known."""
    known = kernels_of(model)
    return {
        call.path: f"the layout of a {type(call.layer).__name__}'s weights is not known here"
        for call in flatten(model).calls
        if call.path not in known and any(len(w.shape) > 1 for w in call.layer.trainable_weights)
    }
