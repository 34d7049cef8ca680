"""adb's public keys and signatures, as the phone checks them.

Source: libcrypto_utils/android_pubkey.cpp (key layout) and adb/crypto/rsa_2048_key.cpp in AOSP;
RFC 8017 9.2 for the padding.
"""

import base64
import binascii
import struct
from dataclasses import dataclass
from typing import final

from android_harness.errors import ParseError

TOKEN_BYTES = 20  # the size of a SHA-1 digest: adb signs the token as if it were one
_MODULUS_BYTES = 256
# modulus words, -1/n mod 2^32, modulus, R^2 mod n (both little-endian), exponent
_KEY = struct.Struct(f"<II{_MODULUS_BYTES}s{_MODULUS_BYTES}sI")
_SHA1_INFO = bytes.fromhex("3021300906052b0e03021a05000414")  # DER DigestInfo of SHA-1


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """An RSA public key of 2048 bits."""

    modulus: int
    exponent: int


def parse_public_key(text: str) -> PublicKey:
    """Read a line of adbkey.pub: base64 of the key, then who made it.

    Raises:
        ParseError: not such a line.
    """
    try:
        raw = base64.b64decode(text.split()[0], validate=True)
        words, _, modulus, _, exponent = _KEY.unpack(raw)
    except (IndexError, binascii.Error, struct.error) as error:
        raise ParseError("adb public key", text, "not base64 of a 2048-bit key") from error
    if words * 4 != _MODULUS_BYTES:
        raise ParseError("adb public key", text, f"a modulus of {words} words, not 64")
    return PublicKey(modulus=int.from_bytes(modulus, "little"), exponent=exponent)


def is_signed_by(key: PublicKey, token: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is the PKCS #1 v1.5 signature of ``token`` by ``key``."""
    if len(signature) != _MODULUS_BYTES:
        return False
    opened = pow(int.from_bytes(signature, "big"), key.exponent, key.modulus)
    digest_info = _SHA1_INFO + token
    padding = b"\xff" * (_MODULUS_BYTES - 3 - len(digest_info))
    return opened.to_bytes(_MODULUS_BYTES, "big") == b"\0\1" + padding + b"\0" + digest_info
