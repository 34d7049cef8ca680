"""Every test starts from the same randomness, whatever ran before it."""

import sys

import pytest


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Weights that a test draws are the same alone and in company."""
    if (keras := sys.modules.get("tf_keras")) is not None:
        keras.utils.set_random_seed(11)
