"""The hub's Ed25519 key, made once and kept in the data folder, and whose signatures are trusted.

A key is written as `ed25519:` and the URL-safe base64 of its 32 public bytes.
"""

import base64
import binascii
import os

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from django.conf import settings

from hub.errors import Invalid

KIND = "ed25519:"
# What is signed begins with this, so that a signature made for a bundle is good for nothing else.
PURPOSE = b"adapter-hub bundle 1\n"


def public_key() -> str:
    """This hub's public key, as others write it into HUB_TRUSTED_KEYS."""
    return _text(_own().public_key())


def sign(data: bytes) -> str:
    """The signature of `data`, in base64."""
    return base64.b64encode(_own().sign(PURPOSE + data)).decode()


def verify(key: str, signature: str, data: bytes) -> None:
    """Invalid `bundle.signature` where the signature isn't this key's of these bytes."""
    try:
        _parsed(key).verify(base64.b64decode(signature, validate=True), PURPOSE + data)
    except (InvalidSignature, binascii.Error, ValueError):
        raise Invalid(
            "The bundle's signature does not fit its manifest: the file was damaged or changed. Get it again from "
            "where it was exported.",
            code="bundle.signature",
        ) from None


def is_trusted(key: str, more: list[str]) -> bool:
    """True for this hub's own key, those of HUB_TRUSTED_KEYS, and `more`. Invalid for one that can't be a key."""
    named = [*settings.TRUSTED_KEYS, *more]
    for one in named:
        try:
            _parsed(one)
        except (ValueError, binascii.Error):
            raise Invalid(f"{one!r} is not a key: write ed25519:…, as manage.py export --show-key does.") from None
    return key in (public_key(), *named)


def _own() -> Ed25519PrivateKey:
    path = settings.HUB_DATA / "signing_key.pem"
    if not path.exists():
        pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        part = path.with_name(f".{path.name}-{os.getpid()}")
        part.touch(mode=0o600)
        part.write_bytes(pem)
        os.replace(part, path)
    return load_pem_private_key(path.read_bytes(), None)


def _text(key: Ed25519PublicKey) -> str:
    return KIND + base64.urlsafe_b64encode(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def _parsed(text: str) -> Ed25519PublicKey:
    if not text.startswith(KIND):
        raise ValueError(text)
    return Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(text.removeprefix(KIND)))
