"""The runner's own C functions, called from Python."""

import ctypes
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from android_harness.runner.abi import abi_named, host_abi
from android_harness.runner.compiler import FLAGS, SOURCES, zig_caches

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    target = tmp_path_factory.mktemp("c") / "librunner.so"
    warnings = [flag for flag in FLAGS if flag.startswith(("-W", "-std"))]
    compiler = (sys.executable, "-m", "ziglang", "cc", "-target", abi_named(host_abi()).zig_target)
    argv = (*compiler, *warnings, "-shared", "-fPIC", "-o", str(target), "sha256.c", "json.c")
    subprocess.run(argv, cwd=SOURCES, env=zig_caches(), check=True)
    return ctypes.CDLL(str(target))


@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 119, 120, 65535, 65536, 65537, 200000])
def test_sha256_is_hashlibs(library: ctypes.CDLL, tmp_path: Path, size: int) -> None:
    content = (bytes(range(251)) * 1000)[:size]
    (tmp_path / "file").write_bytes(content)
    digest, length = ctypes.create_string_buffer(65), ctypes.c_uint64()
    library.sha256_file.restype = ctypes.c_bool
    path = str(tmp_path / "file").encode()
    assert library.sha256_file(path, digest, ctypes.byref(length))
    assert (digest.value.decode(), length.value) == (hashlib.sha256(content).hexdigest(), size)


def test_a_file_that_is_not_there_has_no_digest(library: ctypes.CDLL, tmp_path: Path) -> None:
    library.sha256_file.restype = ctypes.c_bool
    digest, length = ctypes.create_string_buffer(65), ctypes.c_uint64()
    path = str(tmp_path / "none").encode()
    assert not library.sha256_file(path, digest, ctypes.byref(length))


def _written(library: ctypes.CDLL, content: bytes | None) -> bytes:
    """What json_string writes, through a stream in memory of the C library."""
    libc = ctypes.CDLL(None)
    libc.open_memstream.restype = ctypes.c_void_p
    text, size = ctypes.c_void_p(), ctypes.c_size_t()
    stream = ctypes.c_void_p(libc.open_memstream(ctypes.byref(text), ctypes.byref(size)))
    library.json_string(stream, content)
    libc.fclose(stream)
    try:
        return ctypes.string_at(text, size.value)
    finally:
        libc.free(text)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
@settings(deadline=None)
def test_any_text_survives(library: ctypes.CDLL, text: str) -> None:
    assert json.loads(_written(library, text.encode())) == text


@given(st.binary().filter(lambda content: 0 not in content))
@settings(deadline=None)
def test_any_bytes_give_a_valid_string(library: ctypes.CDLL, content: bytes) -> None:
    found = json.loads(_written(library, content).decode("utf-8"))
    assert "\ufffd" in found or found == content.decode("utf-8")


def test_no_text_is_an_empty_string(library: ctypes.CDLL) -> None:
    assert _written(library, None) == b'""'
