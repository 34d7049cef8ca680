"""The text of a recipe for a model of the user's own; pure."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from pipeline.own.scale import Scale

# Learned from the model as it is; the labels of few images say less than its answers do.
EPOCHS: Final = 5
KEEP: Final = 0.5
_BATCH: Final = 32


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Custom:
    """A layer class of the user's own: ``module:name``, and the folder modules start from."""

    module: str
    name: str
    start: str | None = None  # relative to the recipe's folder; None: installed
    file: str | None = None  # its source, likewise


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a recipe for a model of the user's own says.

    Attributes:
        model_file, data_path: relative to the recipe's folder, or absolute; no data: synthetic.
        size: height and width where the user fixed them.
        classes: 0 when the model gives no scores of classes.
        scale_reason: why this scale.
        dense_only: why nothing is trained; None: channels are pruned, too.
    """

    name: str
    command_path: str
    summary: str
    model_file: str
    data_path: str | None
    size: tuple[int, int] | None
    trust: bool
    custom: tuple[Custom, ...]
    shape: tuple[int, ...]
    classes: int
    scale: Scale
    scale_reason: str
    class_names: tuple[str, ...]
    most_samples: int
    dense_only: str | None


def recipe_text(contents: Contents) -> str:
    """The recipe.toml."""
    c = contents
    sources = [x.file for x in c.custom if x.file is not None]
    lines = [
        f"# Made from your model. Change what you like, then: deploy-bench build {c.command_path}",
        f"summary = {quoted(c.summary)}",
        "seed = 0",
        'baseline = "dense_float32" # what every other variant is compared with',
        *([f"depends_on = {_listed(sources)} # your layers"] if sources else []),
        "",
        "[model] # parameters of build_model() in model.py",
        f"model_file = {quoted(c.model_file)}",
        *([f"size = [{c.size[0]}, {c.size[1]}] # height and width"] if c.size else []),
        *(["trust = true # Lambda layers in the file are run"] if c.trust else []),
        "",
        "[data] # parameters of load_data() in model.py",
        *_data(c),
        "",
        "# The model as it is, in other number formats.",
        "[[branch]]",
        'name = "dense"',
        'formats = ["float32", "float16", "int8"]',
        "",
        *_slim(c.dense_only),
    ]
    return "\n".join(lines) + "\n"


def module_text(contents: Contents) -> str:
    """The model.py."""
    starts = sorted({x.start for x in contents.custom if x.start is not None})
    lines = ['"""Your model and your data, as recipe.toml names them."""', ""]
    if starts:
        lines += ["import sys", "from pathlib import Path", ""]
        lines += [
            f"sys.path.append(str((Path(__file__).parent / {quoted(s)}).resolve()))" for s in starts
        ]
        lines.append("")
    lines += [f"from {x.module} import {x.name}" for x in contents.custom]
    given = ", ".join(x.name for x in contents.custom)
    custom = f", custom=[{given}]" if given else ""
    return "\n".join([*lines, *([""] if given else []), _FUNCTIONS.format(custom=custom)])


_FUNCTIONS: Final = '''
def build_model(**parameters):
    """Your model, flat and with a fixed input."""
    from pipeline.own.model import load_own_model

    return load_own_model(**parameters{custom})


def load_data(**parameters):
    """Your data, scaled and split."""
    from pipeline.own.data import load_own_data

    return load_own_data(**parameters)
'''


def _data(c: Contents) -> list[str]:
    names = f" # in this order: {', '.join(c.class_names[:20])}" if c.class_names else ""
    if len(c.class_names) > 20:
        names += ", ..."
    return [
        (f"data_path = {quoted(c.data_path)}" if c.data_path else
         '# data_path = "..." # generated patterns stand in for it'),
        f"shape = {list(c.shape)} # of one input sample",
        f"classes = {c.classes}{names or ('' if c.classes else ' # no scores of classes')}",
        f"scale = {quoted(c.scale)} # of pixels: {', '.join(Scale)}",
        *([f"# {_comment(c.scale_reason)}"] if c.scale_reason else []),
        f"most_samples = {c.most_samples} # of a split, each class alike; memory must hold them",
        "seed = 0 # of the split into train, validation and test",
    ]  # fmt: skip


def _slim(reason: str | None) -> list[str]:
    if reason is not None:
        return [f"# No branch with fewer channels: {_comment(reason)}."]
    return [
        "# Whole channels removed until so much of the multiplications is left, then trained on",
        "# with the dense model as teacher.",
        "[[branch]]",
        'name = "slim"',
        'from = "dense"',
        "stages = [",
        f'    {{ stage = "prune_channels", keep = {KEEP}, epochs = {EPOCHS}, batch = {_BATCH}, '
        'distil = { teacher = "dense" } },',
        "]",
        'formats = ["float32", "int8"]',
    ]


def quoted(text: str) -> str:
    """A TOML string; JSON's escapes are TOML's."""
    return json.dumps(text, ensure_ascii=True)


def _listed(items: Sequence[str]) -> str:
    return f"[{', '.join(map(quoted, items))}]"


def _comment(text: str) -> str:
    return " ".join(text.split())
