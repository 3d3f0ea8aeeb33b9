"""Secrets that the hub must read again, such as a webhook's key: encrypted in the database by the hub's secret key.

A copy of the database alone tells nothing. Keys are made of SECRET_KEY and its fallbacks, one for each purpose.
"""

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings


class Unreadable(Exception):
    """It was sealed by another secret key."""


def seal(secret: str, purpose: str) -> str:
    """`secret`, encrypted for the database."""
    return _cipher(purpose).encrypt(secret.encode()).decode()


def unseal(sealed: str, purpose: str) -> str:
    """What was sealed for the same purpose; Unreadable where the hub's secret key has changed since."""
    try:
        return _cipher(purpose).decrypt(sealed.encode()).decode()
    except InvalidToken:
        raise Unreadable(f"sealed for {purpose!r} by another secret key") from None


def _cipher(purpose: str) -> MultiFernet:
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return MultiFernet([Fernet(_derived(key, purpose)) for key in keys])


def _derived(key: str, purpose: str) -> bytes:
    made = HKDF(algorithm=SHA256(), length=32, salt=None, info=f"hub {purpose}".encode()).derive(key.encode())
    return base64.urlsafe_b64encode(made)
