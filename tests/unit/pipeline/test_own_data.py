"""Data of the user's own: layouts, classes, splits, scaling; no TensorFlow."""

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import UnusableInput
from pipeline.own.data import SEEN_BEFORE, Samples, few, find_samples, load_own_data
from pipeline.own.images import class_numbers
from pipeline.own.scale import Scale, scaled

SHAPE = (4, 6, 3)


def draw(path, value=0, size=(9, 7)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)


@pytest.fixture
def photos(tmp_path):
    """Ten grey images of each class; the value tells which."""
    for value, name in ((0, "oak"), (100, "ash"), (255, "elm")):
        for number in range(10):
            draw(tmp_path / "photos" / name / f"{number}.png", value)
    return tmp_path / "photos"


def test_classes_are_numbered_by_name_and_split_alike(photos):
    data = load_own_data(SHAPE, str(photos), classes=3, scale="0..255")
    for split, count in ((data.train, 6), (data.validation, 2), (data.test, 2)):
        assert split.inputs.shape == (3 * count, *SHAPE)
        assert np.bincount(split.labels).tolist() == [count] * 3
        # ash, elm, oak
        assert (split.inputs[:, 0, 0, 0] == np.array([100, 255, 0])[split.labels]).all()
    assert data.accuracy_reason is None
    assert data.warnings == (SEEN_BEFORE,)


def test_the_split_is_the_same_for_a_seed_and_another_for_another(tmp_path):
    x, y = np.arange(40, dtype=np.float32)[:, None], np.arange(40) % 2
    np.savez(tmp_path / "d.npz", x=x, y=y)
    first, again, other = (
        load_own_data((1,), str(tmp_path / "d.npz"), classes=2, seed=s) for s in (1, 1, 2)
    )
    assert first.test.inputs.tolist() == again.test.inputs.tolist()
    assert first.test.inputs.tolist() != other.test.inputs.tolist()
    parts = (first.train, first.validation, first.test)
    everything = np.concatenate([p.inputs[:, 0] for p in parts])
    assert sorted(everything) == x[:, 0].tolist()
    assert all((p.inputs[:, 0] % 2 == p.labels).all() for p in parts)


def test_splits_that_are_there_are_kept(tmp_path):
    for part, count in (("train", 5), ("val", 2), ("test", 3)):
        for name in ("a", "b"):
            for number in range(count):
                draw(tmp_path / part / name / f"{number}.png")
    data = load_own_data(SHAPE, str(tmp_path), classes=2)
    assert data.validation is not None
    counts = [len(s.inputs) for s in (data.train, data.validation, data.test)]
    assert (counts, data.warnings) == ([10, 4, 6], ())


def test_images_without_classes_calibrate_and_compare_only(tmp_path):
    for number in range(5):
        draw(tmp_path / f"{number}.png")
    data = load_own_data(SHAPE, str(tmp_path), classes=3)
    assert data.train.labels is None
    assert data.test.labels is None
    assert "does not tell the classes" in str(data.accuracy_reason)


def test_no_data_are_loudly_synthetic():
    data = load_own_data(SHAPE, None, classes=3, scale="-1..1")
    assert data.origin == "synthetic"
    assert "SYNTHETIC" in data.warnings[0]
    assert -1 <= data.train.inputs.min() < -0.3 < 0.3 < data.train.inputs.max() <= 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda p: [f.unlink() for f in (p / "oak").iterdir()], "'oak' has no images"),
        (lambda p: [f.unlink() for f in sorted((p / "oak").iterdir())[2:]], "2 samples, too few"),
        (lambda p: (p / "oak").rename(p.parent / "oak"), "1 missing"),
        (lambda p: draw(p / "yew" / "0.png"), "4 class folders, but the model 3 outputs"),
        (lambda p: draw(p / "0.png"), "both images"),
        (lambda p: (p / "oak" / "0.png").write_bytes(b"GIF"), "no image that can be read"),
    ],
)
def test_wrong_folders_say_what_is_wrong(photos, change, says):
    change(photos)
    with pytest.raises(UnusableInput, match=says):
        load_own_data(SHAPE, str(photos), classes=3)


def test_an_empty_folder_and_a_missing_one(tmp_path):
    with pytest.raises(UnusableInput, match="holds no images"):
        find_samples(tmp_path, SHAPE, 3)
    with pytest.raises(UnusableInput, match="does not exist"):
        find_samples(tmp_path / "none", SHAPE, 3)


def test_images_need_a_model_for_images(photos):
    with pytest.raises(UnusableInput, match="the model takes 10"):
        load_own_data((10,), str(photos), classes=3)


def test_a_part_of_the_classes_needs_their_numbers():
    assert class_numbers(["7_rose", "2"], 10, "f") == {"7_rose": 7, "2": 2}
    with pytest.raises(UnusableInput, match="8 missing"):
        class_numbers(["rose", "2"], 10, "f")
    with pytest.raises(UnusableInput, match="8 missing"):
        class_numbers(["12_rose", "2"], 10, "f")


X, Y = np.zeros((9, *SHAPE), np.uint8), np.arange(9) % 3


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"images": X}, "holds images, but no x"),
        ({"x": X[:, :2], "y": Y}, "samples of 2 x 6 x 3, but the model takes 4 x 6 x 3"),
        ({"x": X, "y": Y[:5]}, "for 9 samples"),
        ({"x": X, "y": Y + 1}, "classes 1 to 3, but the model has 3 outputs"),
        ({"x": X, "y": Y + 0.5}, "not class numbers"),
        ({"x": X, "y": np.eye(4)[Y]}, "4 classes, but the model 3"),
        ({"x": X, "y": np.array([{}] * 9)}, "pickle"),
        ({"x": np.full(X.shape, np.nan), "y": Y}, "NaN"),
        ({"x": X, "x_train": X}, "both x and x_train"),
    ],
)
def test_wrong_arrays_say_what_is_wrong(tmp_path, arrays, says):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(UnusableInput, match=says):
        load_own_data(SHAPE, str(tmp_path / "d.npz"), classes=3)


def test_something_else_is_no_npz(tmp_path):
    (tmp_path / "d.npz").write_bytes(b"PK something")
    with pytest.raises(UnusableInput, match=r"no \.npz file"):
        find_samples(tmp_path / "d.npz", SHAPE, 3)
    np.save(tmp_path / "d.npy", X)
    with pytest.raises(UnusableInput, match="single array"):
        find_samples(tmp_path / "d.npy", SHAPE, 3)


def test_arrays_one_hot_and_with_a_test_split(tmp_path):
    np.savez(tmp_path / "d.npz", x=X, y=np.eye(3)[Y], x_test=X[:3], y_test=Y[:3, None])
    data = load_own_data(SHAPE, str(tmp_path / "d.npz"), classes=3)
    assert data.test.labels.tolist() == [0, 1, 2]
    assert len(data.train.inputs) + len(data.validation.inputs) == 9
    assert data.warnings == ()


def test_floats_are_taken_as_they_are_and_classes_without_samples_told(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.full((9, 2), 7.0), y=np.arange(9) % 3)
    data = load_own_data((2,), str(tmp_path / "d.npz"), classes=5, scale="0..1")
    assert (data.train.inputs == 7).all()
    assert "2 of the model's 5 classes have no samples (3, 4)" in data.warnings


def test_few_takes_of_each_class_alike():
    labels = np.array([0] * 50 + [1] * 5 + [2] * 5)
    chosen = few(Samples(inputs=np.arange(60), labels=labels), 12, seed=0)
    assert np.bincount(chosen.labels).tolist() == [4, 4, 4]
    assert (labels[chosen.inputs] == chosen.labels).all()


@pytest.mark.parametrize(
    ("scale", "values"),
    [
        (Scale.UNIT, [1, 0, 0.2]), (Scale.SIGNED, [1, -1, -0.6]), (Scale.RAW, [255, 0, 51]),
        (Scale.IMAGENET, [2.2489, -2.0357, -0.9165]), (Scale.CAFFE, [-52.939, -116.779, 131.32]),
    ],
)  # fmt: skip
def test_scales(scale, values):
    made = scaled(np.array([[255, 0, 51]], np.uint8), scale)
    assert made.dtype == np.float32
    assert made[0].tolist() == pytest.approx(values, abs=1e-3)
