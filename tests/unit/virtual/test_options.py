import pytest

from android_harness.virtual.options import Options


@pytest.mark.parametrize("field", ["data_mb", "memory_mb", "cpus"])
def test_sizes_must_be_positive(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        Options(**{field: 0})


@pytest.mark.parametrize("port", [-1, 65536])
def test_port_must_be_one(port: int) -> None:
    with pytest.raises(ValueError, match=f"{port} is no TCP port"):
        Options(port=port)
