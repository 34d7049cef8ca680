"""Take in a model of the user's own: look at it and its data, and write a recipe for them."""

import hashlib
import importlib.util
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, final

from pipeline.errors import RecipeError, UnusableInput
from pipeline.own.data import WHAT_DATA
from pipeline.own.files import kind_of
from pipeline.own.scale import Scale, fits
from pipeline.own.text import EPOCHS, KEEP, Contents, Custom, module_text, quoted, recipe_text
from pipeline.recipe import MODEL_FILE, RECIPE_FILE

if TYPE_CHECKING:
    from pipeline.own.data import Samples
    from pipeline.own.model import Traits

SYNTHETIC_DATA: Final = "synthetic"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_]*")
# Arrays of all splits together are kept to about this; training needs as much again.
_SPLIT_BYTES: Final = 1_000_000_000
_MOST_SAMPLES: Final = 100_000
_MARK: Final = "# How deploy-bench sees whether this folder was edited: "


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OwnModel:
    """What the user gave.

    Attributes:
        data: folder or .npz file, or "synthetic"; None: nothing.
        folder: where the recipe is to lie; None: models/<name> below the working folder.
        size, scale: as typed; None: the model's own, the one under which it is right.
        custom: "package.module:Class", one for each layer class of the user's own.
        trust: also load Lambda layers.
    """

    model: Path
    data: str | None = None
    folder: Path | None = None
    size: str | None = None
    scale: str | None = None
    custom: tuple[str, ...] = ()
    trust: bool = False


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TakenIn:
    """A recipe for the user's model: where it lies, and whether it was there already."""

    folder: Path
    state: Literal["written", "there already", "written anew"]
    remarks: tuple[str, ...] = ()  # what was chosen for the user, and what they must look into


def take_in(own: OwnModel, tell: Callable[[str], None] = lambda _: None) -> TakenIn:
    """Write the recipe of a model of the user's own, unless it is there.

    Everything is checked first: whatever is wrong, no half recipe is left.

    Args:
        own: what the user gave.
        tell: told what is being done.

    Raises:
        UnusableInput: the model or the data cannot be used.
        RecipeError: the folder holds another recipe, or one that was edited.
    """
    kind_of(own.model)
    folder, data = _folder_of(own), _data_of(own)
    size, scale = _size(own.size), _scale(own.scale)
    custom = tuple(_custom(text, folder) for text in own.custom)
    asked = _asked(own, folder)
    state = _state(folder, asked, _placed(own.model, folder))
    if state == "there already":
        return TakenIn(folder=folder, state=state)
    tell(f"looking at {own.model.name}")
    contents, remarks = _look(own, folder, data, size, scale, custom, tell)
    _write(folder, contents, asked)
    return TakenIn(folder=folder, state=state, remarks=remarks)


def _folder_of(own: OwnModel) -> Path:
    if own.folder is not None:
        folder = own.folder.expanduser()
        if not _NAME.fullmatch(folder.absolute().name):
            message = "the folder's name is the recipe's, and is not made of a-z, 0-9 and _"
            raise RecipeError(str(folder), "--recipe-dir", message)
        return folder
    name = re.sub(r"[^a-z0-9]+", "_", own.model.absolute().stem.lower()).strip("_")
    if not name:
        message = "gives no name for a recipe"
        raise UnusableInput(str(own.model), message, "choose a folder: --recipe-dir models/mine")
    return Path("models") / name


def _data_of(own: OwnModel) -> Path | None:
    if own.data is None:
        hint = f"{WHAT_DATA}; --data {SYNTHETIC_DATA} makes patterns, for size and latency only"
        raise UnusableInput("--data", "is missing", hint)
    if own.data == SYNTHETIC_DATA:
        return None
    path = Path(own.data).expanduser()
    if not path.exists():
        raise UnusableInput(str(path), "does not exist", WHAT_DATA)
    if path.is_file() and path.suffix.lower() != ".npz":
        raise UnusableInput(str(path), "is no folder and no .npz file", WHAT_DATA)
    return path


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    if not (found := re.fullmatch(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", text)):
        raise UnusableInput(
            "--size", f"{text!r} is no size", "such as 224, or 192x256 (height x width)"
        )
    return int(found[1]), int(found[2] or found[1])


def _scale(text: str | None) -> Scale | None:
    if text is None:
        return None
    try:
        return Scale(text)
    except ValueError:
        raise UnusableInput("--scale", f"{text!r} is none of {', '.join(Scale)}") from None


def _custom(text: str, folder: Path) -> Custom:
    """The class named ``module:Class``; modules are also looked for in the working folder."""
    module, _, name = text.partition(":")
    if not re.fullmatch(r"[A-Za-z_][\w.]*", module) or not name.isidentifier():
        raise UnusableInput("--custom", f"{text!r} is not package.module:Class")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        found = import_module(module)
    except Exception as exc:  # a module's own code may raise anything
        message = f"{module} cannot be imported ({type(exc).__name__}: {exc})"
        raise UnusableInput("--custom", message, "run where it is found, or install it") from exc
    if not isinstance(getattr(found, name, None), type):
        raise UnusableInput("--custom", f"{module} has no class {name}")
    spec = importlib.util.find_spec(module)
    source = Path(spec.origin) if spec is not None and spec.origin else None
    if source is None or not source.is_relative_to(here):
        return Custom(module=module, name=name)
    return Custom(
        module=module, name=name, start=os.path.relpath(here, folder),
        file=os.path.relpath(source, folder),
    )  # fmt: skip


def _look(
    own: OwnModel, folder: Path, data: Path | None, size: tuple[int, int] | None,
    scale: Scale | None, custom: Sequence[Custom], tell: Callable[[str], None],
) -> tuple[Contents, tuple[str, ...]]:  # fmt: skip
    """Load the model, try it on some data, and say what the recipe is to hold."""
    from pipeline.own.model import load_own_model, traits_of
    from pipeline.own.trial import choose_scale, sample_of

    classes = [getattr(import_module(c.module), c.name) for c in custom]
    model = load_own_model(str(own.model), size, own.trust, classes)
    traits = traits_of(model)
    if scale is not None and not fits(scale, traits.shape[-1]):
        raise UnusableInput("--scale", f"{scale} is for 3 channels, not {traits.shape[-1]}")
    contents = _contents(own, folder, data, traits)
    contents = replace(contents, size=size, custom=tuple(custom))
    if data is None:
        likely = Scale.RAW if traits.rescales else Scale.UNIT
        doubt = "warning: SYNTHETIC DATA: answers of the int8 file will mean nothing; give --data"
        reason = "there are no data to train on"
        return replace(contents, scale=scale or likely, dense_only=reason), (doubt,)
    tell(f"trying {own.model.name} on some of {data}")
    sample = sample_of(data, traits, seed=0)
    choice = choose_scale(model, traits, sample, scale)
    contents = replace(
        contents, scale=choice.scale, scale_reason=choice.reason,
        class_names=_class_names(data, traits),
        dense_only=_dense_only(model, traits, sample, choice.scale),
    )  # fmt: skip
    said = f"scale {choice.scale} ({choice.reason})"
    return contents, (said, *([f"warning: {choice.doubt}"] if choice.doubt else []))


def _contents(own: OwnModel, folder: Path, data: Path | None, traits: "Traits") -> Contents:
    words = " x ".join(map(str, traits.shape))
    told = f"{traits.classes} classes" if traits.classes else "no scores of classes"
    sample_bytes = 4 * int(_product(traits.shape))
    return Contents(
        name=folder.absolute().name, command_path=str(folder),
        summary=f"{own.model.name} ({words}, {told})",
        model_file=_placed(own.model, folder),
        data_path=None if data is None else _placed(data, folder),
        size=None, trust=own.trust, custom=(), shape=traits.shape, classes=traits.classes or 0,
        scale=Scale.UNIT, scale_reason="", class_names=(),
        most_samples=min(_MOST_SAMPLES, max(100, _SPLIT_BYTES // sample_bytes)), dense_only=None,
    )  # fmt: skip


def _dense_only(model: Any, traits: "Traits", sample: "Samples", scale: Scale) -> str | None:
    from pipeline.own.trial import why_not_narrower
    from pipeline.settings import PruneChannels

    if traits.classes is None:
        return (
            f"the model ends in {traits.ending} ({' x '.join(map(str, traits.outputs))}); only "
            "classifiers that end in logits or a softmax over classes can be trained here"
        )
    if sample.labels is None:
        return "the data have no labels to train on"
    settings = PruneChannels.model_validate({"stage": "prune_channels", "epochs": 0, "keep": KEEP})
    return why_not_narrower(model, sample, scale, settings)


def _class_names(data: Path, traits: "Traits") -> tuple[str, ...]:
    from pipeline.own.images import list_images

    return () if data.is_file() else list_images(data, traits.classes).classes


def _placed(path: Path, folder: Path) -> str:
    """Relative to the recipe where both lie below the working folder, so that it can be moved."""
    whole, here = path.expanduser().absolute(), Path.cwd()
    if whole.is_relative_to(here) and folder.absolute().is_relative_to(here):
        return os.path.relpath(whole, folder.absolute())
    return str(whole)


def _product(shape: Sequence[int]) -> int:
    total = 1
    for n in shape:
        total *= n
    return total


def _asked(own: OwnModel, folder: Path) -> str:
    """A hash of what the user gave: another model behind the same name is another."""
    told = {
        "model": _placed(own.model, folder), "stamp": _stamp(own.model),
        "data": own.data if own.data in (None, SYNTHETIC_DATA) else _placed(Path(own.data), folder),
        "inside": _inside(own.data), "size": own.size, "scale": own.scale,
        "custom": list(own.custom), "trust": own.trust, "epochs": EPOCHS,
    }  # fmt: skip
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _stamp(path: Path) -> list[list[Any]]:
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return [[p.name, (s := p.stat()).st_size, s.st_mtime_ns] for p in files]


def _inside(data: str | None) -> Any:
    """What of the data decides the recipe: folders, not each image."""
    if data is None or data == SYNTHETIC_DATA:
        return None
    path = Path(data).expanduser()
    if path.is_file():
        return _stamp(path)
    return sorted(p.relative_to(path).as_posix() for p in path.glob("**/") if p != path)


def _state(
    folder: Path, asked: str, model: str
) -> Literal["written", "there already", "written anew"]:
    """What is to be done about the folder as it is.

    Raises:
        RecipeError: it was edited, or is not of this model.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return "written"
    other = "choose another folder with --recipe-dir"
    try:
        text = (folder / RECIPE_FILE).read_text(encoding="utf-8")
        module = (folder / MODEL_FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise RecipeError(str(folder), "", "exists and is no recipe of yours", other) from None
    body, mark, hashes = text.rpartition(_MARK)
    if not mark:
        raise RecipeError(str(folder), "", "holds a recipe that was not made by --model", other)
    if f"\nmodel_file = {quoted(model)}\n" not in body:
        raise RecipeError(str(folder), "", "is the recipe of another model file", other)
    before, _, intact = hashes.strip().partition(" ")
    if intact != _text_hash(body, module):
        hint = f"build it as it is with: deploy-bench build {folder}, or {other}"
        raise RecipeError(str(folder), "", "was edited and is not overwritten", hint)
    return "there already" if before == asked else "written anew"


def _write(folder: Path, contents: Contents, asked: str) -> None:
    body, module = recipe_text(contents) + "\n", module_text(contents)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MODEL_FILE).write_text(module, encoding="utf-8")
        text = f"{body}{_MARK}{asked} {_text_hash(body, module)}\n"
        (folder / RECIPE_FILE).write_text(text, encoding="utf-8")
    except OSError as exc:
        hint = "choose another folder with --recipe-dir"
        raise RecipeError(str(folder), "", f"cannot be written ({exc.strerror})", hint) from exc


def _text_hash(body: str, module: str) -> str:
    return hashlib.sha256(f"{body}\0{module}".encode()).hexdigest()[:16]
