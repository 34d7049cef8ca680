import numpy as np
import pytest

pytest.importorskip("sklearn")

from models.digits_mobile.model import _shifted, load_data
from pipeline.data import Data
from pipeline.module import check_data


@pytest.fixture(scope="module")
def data() -> Data:
    return load_data()


def test_splits_are_whole_and_share_nothing(data: Data) -> None:
    check_data(data, "digits_mobile")
    assert data.validation is not None
    splits = (data.train, data.validation, data.test)
    assert [len(s.inputs) for s in splits] == [1078, 359, 360]
    keys = [sample.tobytes() for split in splits for sample in split.inputs]
    assert len(set(keys)) == len(keys) == 1797


def test_every_class_is_in_every_split_alike(data: Data) -> None:
    for split in (data.train, data.test):
        assert split.labels is not None
        shares = np.bincount(split.labels, minlength=10) / len(split.labels)
        assert shares.min() > 0.09
        assert shares.max() < 0.11


def test_inputs_are_scaled_and_the_split_is_seeded(data: Data) -> None:
    assert data.test.inputs.min() == -1
    assert data.test.inputs.max() == 1
    assert (load_data().test.inputs == data.test.inputs).all()
    assert (load_data(seed=1).test.inputs != data.test.inputs).any()


def test_shifting_moves_images_and_changes_nothing_else() -> None:
    batch = np.full((50, 8, 8, 1), -1, np.float32)
    batch[:, 4, 4, 0] = 1
    moved = _shifted(batch, np.random.default_rng(0), 2)
    assert moved.shape == batch.shape
    assert moved.dtype == np.float32
    assert (moved.sum(axis=(1, 2, 3)) == batch.sum(axis=(1, 2, 3))).all()
    places = {tuple(np.argwhere(image[..., 0] == 1)[0]) for image in moved}
    assert {p for place in places for p in place} == {2, 3, 4, 5, 6}
    assert len(places) > 10
