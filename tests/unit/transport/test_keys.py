import base64
import logging
import stat
import struct
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils

from android_harness.transport import keys

TOKEN = bytes(range(20))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANDROID_USER_HOME", str(tmp_path / "android"))
    monkeypatch.delenv("ADB_VENDOR_KEYS", raising=False)
    return tmp_path / "android"


def pem(bits: int = 2048) -> bytes:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def public_numbers(signer: keys.Signer) -> rsa.RSAPublicNumbers:
    """The key as a phone reads it; checks what adbd computes with."""
    data = base64.b64decode(signer.GetPublicKey().partition(b" ")[0], validate=True)
    words, inverse, modulus, squared, exponent = struct.unpack("<II256s256sI", data)
    n = int.from_bytes(modulus, "little")
    assert words == 64
    assert (n * inverse + 1) % 2**32 == 0
    assert int.from_bytes(squared, "little") == pow(2, 4096, n)
    return rsa.RSAPublicNumbers(exponent, n)


def test_a_key_is_made_once_and_for_us_alone(home: Path) -> None:
    (first,) = keys.load_signers()
    (again,) = keys.load_signers()
    assert first.GetPublicKey() == again.GetPublicKey()
    assert stat.S_IMODE((home / "adbkey").stat().st_mode) == 0o600
    assert (home / "adbkey.pub").read_bytes() == first.GetPublicKey()
    assert sorted(path.name for path in home.iterdir()) == ["adbkey", "adbkey.pub"]


def test_a_phone_can_verify_our_signature() -> None:
    (signer,) = keys.load_signers()
    public = public_numbers(signer).public_key()
    prehashed = utils.Prehashed(hashes.SHA1())
    public.verify(signer.Sign(TOKEN), TOKEN, padding.PKCS1v15(), prehashed)


def test_the_public_half_says_who_we_are() -> None:
    (signer,) = keys.load_signers()
    assert b"@" in signer.GetPublicKey().partition(b" ")[2]


def test_many_processes_at_once_agree_on_one_key() -> None:
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(keys.load_signers()[0].GetPublicKey()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1


def test_vendor_keys_come_after_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "vendor"
    folder.mkdir()
    (folder / "b.adb_key").write_bytes(pem())
    (folder / "ignored.txt").write_bytes(pem())
    (tmp_path / "single").write_bytes(pem())
    monkeypatch.setenv("ADB_VENDOR_KEYS", f"{folder}:{tmp_path / 'single'}")
    assert len(keys.load_signers()) == 3


def test_without_android_user_home_it_is_the_home_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANDROID_USER_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert keys.android_folder() == tmp_path / ".android"


@pytest.mark.parametrize("content", [b"", b"no key", pem(1024)])
def test_what_is_no_key_is_left_out_and_not_shown(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    content: bytes,
) -> None:
    bad = tmp_path / "bad"
    bad.write_bytes(content)
    monkeypatch.setenv("ADB_VENDOR_KEYS", str(bad))
    with caplog.at_level(logging.DEBUG):
        assert len(keys.load_signers()) == 1
    assert str(bad) in caplog.text
    assert "PRIVATE" not in caplog.text


def test_a_stale_public_half_is_replaced(home: Path) -> None:
    home.mkdir()
    (home / "adbkey.pub").write_text("of another key")
    (signer,) = keys.load_signers()
    assert (home / "adbkey.pub").read_bytes() == signer.GetPublicKey()
