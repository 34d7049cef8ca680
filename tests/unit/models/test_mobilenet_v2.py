from pathlib import Path

import pytest

pytest.importorskip("PIL")

from PIL import Image

from models.mobilenet_v2.model import _class_numbers, _images, build_model, load_data
from pipeline.module import check_data


def photos(folder: Path, classes: list[str], each: int) -> Path:
    """Photos of one colour each, wider than high."""
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(each):
            image = Image.new("RGB", (48, 32), (number * 100, index, 0))
            image.save(folder / name / f"{index}.png")
    return folder


def test_without_a_folder_images_are_synthetic_and_say_so() -> None:
    data = load_data(size=32)
    check_data(data, "mobilenet_v2")
    assert data.origin == "synthetic"
    assert data.accuracy_reason is not None
    assert "SYNTHETIC" in data.warnings[0]
    assert (len(data.train.inputs), len(data.test.inputs)) == (32, 16)


def test_synthetic_images_are_seeded_and_differ() -> None:
    first = _images(4, 32, seed=1)
    assert (first == _images(4, 32, seed=1)).all()
    assert first.min() >= -1
    assert first.max() <= 1
    assert len({image.tobytes() for image in first}) == 4
    assert first.std(axis=(1, 2)).min() > 0.05


def test_a_folder_per_class_gives_labels_and_two_splits(tmp_path: Path) -> None:
    folder = photos(tmp_path, ["0_red", "2_green"], 5)
    data = load_data(str(folder), size=16, calibration_samples=4, test_samples=100)
    check_data(data, "mobilenet_v2")
    assert (len(data.train.inputs), len(data.test.inputs)) == (4, 6)
    assert data.accuracy_reason is None
    assert data.train.labels is not None
    assert data.test.labels is not None
    for split in (data.train, data.test):
        assert split.labels is not None
        red = (split.inputs[:, 0, 0, 0] + 1) * 127.5
        assert red.round().tolist() == [100 * (label == 2) for label in split.labels.tolist()]
    seen = {image.tobytes() for s in (data.train, data.test) for image in s.inputs}
    assert len(seen) == 10


def test_folders_that_tell_no_number_leave_accuracy_unknown(tmp_path: Path) -> None:
    folder = photos(tmp_path, ["cats", "dogs"], 2)
    data = load_data(str(folder), size=16, calibration_samples=2)
    assert data.test.labels is None
    assert data.accuracy_reason is not None


def test_a_thousand_folders_are_the_classes_in_order() -> None:
    folders = [Path(f"n{i:08}") for i in range(1000)]
    numbers = _class_numbers(folders)
    assert numbers is not None
    assert numbers[folders[281]] == 281


def test_too_few_photos_are_named(tmp_path: Path) -> None:
    folder = photos(tmp_path, ["0"], 2)
    with pytest.raises(ValueError, match="holds 2 images, 3 are needed"):
        load_data(str(folder), size=16, calibration_samples=2)


def test_unknown_weights_are_refused_before_anything_is_built() -> None:
    with pytest.raises(ValueError, match="none of"):
        build_model(weights="imagnet")
