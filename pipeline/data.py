"""What a recipe's model.py hands to the pipeline: data, and words about its model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:  # numpy costs a tenth of a second, and a plan needs none of it
    from numpy.random import Generator
    from numpy.typing import NDArray

    Augment = Callable[[NDArray[Any], Generator], NDArray[Any]]

TEST_SPLIT = "test split"
SYNTHETIC = "synthetic"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Inputs and what they show.

    Attributes:
        inputs: float32[samples, height, width, channels], scaled as the model wants them.
        labels: int[samples], the class of each input; None when nobody knows.
    """

    inputs: "NDArray[Any]"
    labels: "NDArray[Any] | None" = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """A recipe's data; the splits share no sample.

    Attributes:
        train: what stages learn from, and what int8 is calibrated on.
        validation: what training is watched on; None when there is none.
        test: what every variant is judged on, here and on the phone.
        origin: where the test inputs come from, in the words reports show.
        augment: changes a batch of training inputs, with the randomness it is given.
        accuracy_reason: why ``test`` has no labels.
        warnings: what every reader of a result must know about this data.
    """

    train: Split
    test: Split
    validation: Split | None = None
    origin: str = TEST_SPLIT
    augment: "Augment | None" = None
    accuracy_reason: str | None = None
    warnings: tuple[str, ...] = ()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A model with words about it; ``build_model`` may return the bare Keras model instead.

    Attributes:
        model: one input float32[batch, height, width, channels], one output [batch, classes].
        accuracy_reason: why no accuracy may be stated for it (its weights are random); stages
            that train it end this.
        warnings: what every reader of a result must know about this model.
    """

    model: Any
    accuracy_reason: str | None = None
    warnings: tuple[str, ...] = ()
