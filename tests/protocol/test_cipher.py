"""AES-128-CBC and base64: one ciphertext has one spelling, and failures look alike."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7
from hypothesis import given
from hypothesis import strategies as st

from adapter.protocol.cipher import decrypt, encrypt

from .samples import KEYS, OTHER_KEYS, fast


def _witness(plain: bytes, padded: bool = True) -> str:
    """Encrypt with the library's own padding, or with none."""
    padder = PKCS7(128).padder()
    blocks = padder.update(plain) + padder.finalize() if padded else plain
    encryptor = Cipher(AES(KEYS.hash_key.encode()), CBC(KEYS.hash_iv.encode())).encryptor()
    return base64.b64encode(encryptor.update(blocks) + encryptor.finalize()).decode()


@fast
@given(st.binary(max_size=100))
def test_encryption_agrees_with_the_witness_and_is_undone(plain: bytes) -> None:
    """All lengths around the block's border are among them."""
    assert encrypt(plain, KEYS) == _witness(plain)
    assert decrypt(encrypt(plain, KEYS), KEYS) == plain


@pytest.mark.parametrize("length", range(34))
def test_padding_is_right_at_every_length(length: int) -> None:
    """A full block of padding where the text fills its last block."""
    assert decrypt(_witness(b"x" * length), KEYS) == b"x" * length


@pytest.mark.parametrize(
    "end", [b"\x00", b"\x11", b"\xff", b"\x02", b"\x01\x02", b"\x03\x02\x03", b"\x10" * 15, b"x" * 16]
)
def test_wrong_padding_is_refused(end: bytes) -> None:
    """Zero, more than a block, or bytes that do not agree."""
    assert decrypt(_witness((b"x" * 16 + end)[-16:], padded=False), KEYS) is None


@pytest.mark.parametrize(
    "data",
    [
        "", "A", "AAAA", "====", "not base64", "AAAAAAAAAAAAAAAAAAAAAA=", "AAAAAAAAAAAAAAAAAAAAAA", "王" * 24,
        " oxmUqzelA4koGRQ+myZggQ==", "oxmUqzelA4koGRQ+myZggQ==\n", "oxmUqzelA4koGRQ-myZggQ==",
        "oxmUqzelA4koGRQ+myZggR==",
        "oxmUqzelA4ko\nGRQ+myZggQ==", "oxmUqzelA4koGRQ+myZggQ==AAAA", "oxmUqzelA4koGRQ+myZggQ===", "\ud800",
    ],
)  # fmt: skip
def test_only_canonical_base64_of_whole_blocks_is_read(data: str) -> None:
    """White space, URL-safe letters, missing padding, stray bits: there is one spelling, and all others are refused."""
    assert decrypt(data, KEYS) is None


@fast
@given(st.binary(max_size=60), st.data())
def test_every_other_spelling_is_refused_or_means_something_else(plain: bytes, data: st.DataObject) -> None:
    """Change any bit of the base64 text: what is still decrypted is never the same plaintext."""
    sealed = encrypt(plain, KEYS).encode()
    place = data.draw(st.integers(0, len(sealed) * 8 - 1))
    changed = bytearray(sealed)
    changed[place // 8] ^= 1 << place % 8

    assert decrypt(changed.decode("latin-1"), KEYS) != plain


def test_other_keys_bring_nothing_or_garbage() -> None:
    """The padding of a wrongly decrypted text is right once in 256 times, and the text never."""
    texts = [f"text {number}".encode() for number in range(600)]
    opened = [decrypt(encrypt(text, KEYS), OTHER_KEYS) for text in texts]

    assert opened.count(None) > 500
    assert not set(opened) & set(texts)
