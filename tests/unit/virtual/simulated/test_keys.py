import base64
import os
from pathlib import Path

import pytest
from adb_shell.auth.keygen import keygen
from adb_shell.auth.sign_pythonrsa import PythonRSASigner

from android_harness.errors import ParseError
from android_harness.virtual.simulated.keys import TOKEN_BYTES, is_signed_by, parse_public_key


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> PythonRSASigner:
    path = tmp_path_factory.mktemp("key") / "adbkey"
    keygen(str(path))
    return PythonRSASigner.FromRSAKeyPath(str(path))


def public_text(signer: PythonRSASigner) -> str:
    text = signer.GetPublicKey()
    return text.decode() if isinstance(text, bytes) else text


def test_a_signature_holds_for_its_token_alone(signer: PythonRSASigner) -> None:
    key = parse_public_key(public_text(signer))
    token = os.urandom(TOKEN_BYTES)
    signature = bytes(signer.Sign(token))
    assert key.exponent == 65537
    assert is_signed_by(key, token, signature)
    assert not is_signed_by(key, os.urandom(TOKEN_BYTES), signature)
    assert not is_signed_by(key, token, signature[:-1] + bytes([signature[-1] ^ 1]))
    assert not is_signed_by(key, token, signature[:-1])
    assert not is_signed_by(key, token, b"")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "not base64!",
        base64.b64encode(b"short").decode(),
        base64.b64encode(bytes(524)).decode(),
    ],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ParseError, match="adb public key"):
        parse_public_key(text)


def test_the_comment_after_a_key_does_not_matter(signer: PythonRSASigner, tmp_path: Path) -> None:
    bare = public_text(signer).split()[0]
    assert parse_public_key(bare) == parse_public_key(f"{bare} somebody@host\n")
