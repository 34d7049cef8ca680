"""The keys a phone knows this computer by: adb's own, in adb's own place.

A phone that was authorized for adb is thereby authorized for us, and the other way round. Keys
are never logged, copied or sent; only signatures and the public half leave this process.

Source: AOSP packages/modules/adb/client/auth.cpp, adb_utils.cpp adb_get_android_dir_path(),
libcrypto_utils/android_pubkey.cpp.
"""

import base64
import getpass
import logging
import os
import secrets
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

_log = logging.getLogger(__name__)

_BITS = 2048  # the only size phones accept
_BYTES = _BITS // 8
_PRIVATE_MODE = 0o600


@final
class Signer:
    """One private key, with the two methods adb-shell asks of a signer."""

    def __init__(self, key: "RSAPrivateKey", public: bytes) -> None:
        self._key, self._public = key, public

    def Sign(self, data: bytes) -> bytes:
        """Sign the phone's 20-byte token, which stands where a SHA-1 would."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding, utils

        return self._key.sign(data, padding.PKCS1v15(), utils.Prehashed(hashes.SHA1()))

    def GetPublicKey(self) -> bytes:
        """The public half as adb writes it: base64, a space, who we are."""
        return self._public


def android_folder() -> Path:
    """Where adb keeps its keys: $ANDROID_USER_HOME, else ~/.android."""
    chosen = os.environ.get("ANDROID_USER_HOME")
    return Path(chosen) if chosen else Path.home() / ".android"


def load_signers() -> tuple[Signer, ...]:
    """Every key of this user, the own one first; the own one is made when it is missing."""
    own = android_folder() / "adbkey"
    if not own.exists():
        _create(own)
    found = [_load(path) for path in (own, *_vendor_keys())]
    return tuple(signer for signer in found if signer is not None)


def _vendor_keys() -> tuple[Path, ...]:
    listed = os.environ.get("ADB_VENDOR_KEYS", "")
    paths = [Path(part) for part in listed.split(os.pathsep) if part]
    inside = [sorted(p.glob("*.adb_key")) if p.is_dir() else [p] for p in paths]
    return tuple(path for group in inside for path in group)


def _load(path: Path) -> Signer | None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:  # TypeError: it wants a password
        _log.warning("%s cannot be used as an adb key: %s", path, type(error).__name__)
        return None
    if not isinstance(key, RSAPrivateKey) or key.key_size != _BITS:
        _log.warning("%s cannot be used as an adb key: not an RSA key of %d bits", path, _BITS)
        return None
    return Signer(key, _public_text(key.public_key()))


def _create(path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    if not _written(path, pem, _PRIVATE_MODE):
        _log.debug("somebody else made %s first", path)
        return
    public = path.with_name(path.name + ".pub")
    public.unlink(missing_ok=True)  # of a private key that is gone
    _written(public, _public_text(key.public_key()), 0o644)
    _log.info("made a new adb key in %s", path.parent)


def _written(path: Path, data: bytes, mode: int) -> bool:
    """Write whole or not at all, never open to others on the way, never over another's file."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        path.hardlink_to(part)
    except FileExistsError:
        return False
    finally:
        part.unlink()
    return True


def _public_text(key: "RSAPublicKey") -> bytes:
    return base64.b64encode(_public_struct(key)) + f" {_user()}@{socket.gethostname()}".encode()


def _public_struct(key: "RSAPublicKey") -> bytes:
    """The key as adbd's RSAPublicKey struct: words, -1/n mod 2^32, n, 2^4096 mod n, e."""
    numbers = key.public_numbers()
    inverse = -pow(numbers.n, -1, 1 << 32) % (1 << 32)
    squared = pow(1 << _BITS, 2, numbers.n)
    return struct.pack(
        f"<II{_BYTES}s{_BYTES}sI",
        _BYTES // 4,
        inverse,
        numbers.n.to_bytes(_BYTES, "little"),
        squared.to_bytes(_BYTES, "little"),
        numbers.e,
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's uid without a name
        return "unknown"
