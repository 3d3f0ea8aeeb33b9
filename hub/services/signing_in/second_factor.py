"""One-time codes by RFC 6238 (six digits, 30 s), and recovery codes for when the app is lost."""

import hashlib
import secrets
import time

import pyotp
from django.db import transaction
from django.utils import timezone

from hub.errors import Conflict, Invalid
from hub.models import RecoveryCode, SecondFactor, User
from hub.sealed import Unreadable, seal, unseal
from hub.services import mail
from hub.services.audit import record

ISSUER = "Adapter hub"
PURPOSE = "second factor"
STEP = 30
# Clocks differ: the code before and the one after now's are taken as well.
DRIFT = 1
RECOVERY_CODES = 10
# Without 0, 1, 8 and 9, which look like letters.
ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
CODE, RECOVERY = "one-time code", "recovery code"


def is_on(user: User) -> bool:
    """True where the user is asked for a code when they sign in."""
    return SecondFactor.objects.filter(user=user).exclude(confirmed_at=None).exists()


@transaction.atomic
def begin(*, user: User) -> str:
    """A new secret, in base32, for the user's app; nothing changes until `confirm`. Conflict where it is on already."""
    if is_on(user):
        raise Conflict("The second factor is on already; switch it off first to set up another app.")
    secret = pyotp.random_base32()
    SecondFactor.objects.update_or_create(user=user, defaults={"secret": _encrypt(secret), "last_step": 0})
    return secret


def begun(user: User) -> str | None:
    """The secret that waits for `confirm`, in base32."""
    row = SecondFactor.objects.filter(user=user, confirmed_at=None).first()
    return _decrypt(row) if row else None


def address_of(user: User, secret: str) -> str:
    """The otpauth:// address that apps read from the QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=user.username, issuer_name=ISSUER)


@transaction.atomic
def confirm(*, user: User, code: str) -> list[str]:
    """Switch it on with a code of the app; the recovery codes, which are shown this once."""
    row = SecondFactor.objects.filter(user=user, confirmed_at=None).first()
    if row is None:
        raise Conflict("There is no second factor to confirm: begin to set one up.")
    if not _take_one_time(row, code):
        raise Invalid(
            "That is not the app's code of this moment. Check the clock of your device, and try the next one.",
            field="code",
        )
    SecondFactor.objects.filter(pk=row.pk).update(confirmed_at=timezone.now())
    record(user, "user.second_factor_on", user.username)
    return _new_codes(user)


@transaction.atomic
def renew_codes(*, user: User) -> list[str]:
    """New recovery codes instead of all old ones, shown this once. Conflict where there is no second factor."""
    if not is_on(user):
        raise Conflict("There is no second factor, so there is nothing to recover.")
    record(user, "user.recovery_codes", user.username)
    return _new_codes(user)


@transaction.atomic
def switch_off(*, actor: User | None, user: User) -> None:
    """The password alone signs in again. The caller has asked for password and code, or is an operator."""
    RecoveryCode.objects.filter(user=user).delete()
    deleted, _ = SecondFactor.objects.filter(user=user).delete()
    if deleted:
        record(actor, "user.second_factor_off", user.username)
        mail.notify(user, "second_factor_off")


def take(user: User, code: str) -> str | None:
    """The way (`CODE`, `RECOVERY`) if this code is right and was never taken before; it is taken by this."""
    plain = code.strip().replace(" ", "").replace("-", "").lower()
    row = SecondFactor.objects.filter(user=user).exclude(confirmed_at=None).first()
    if row is not None and _take_one_time(row, plain):
        return CODE
    mine = RecoveryCode.objects.filter(user=user, digest=_digest(plain), used_at=None)
    return RECOVERY if mine.update(used_at=timezone.now()) else None


def recovery_codes_left(user: User) -> int:
    """How many recovery codes the user can still use."""
    return RecoveryCode.objects.filter(user=user, used_at=None).count()


def _take_one_time(row: SecondFactor, code: str) -> bool:
    """Whether it is the code of about now. The update decides between two who send it at once."""
    if len(code) != 6 or not code.isascii() or not code.isdigit():
        return False
    totp, now = pyotp.TOTP(_decrypt(row)), int(time.time()) // STEP
    steps = [
        step for step in range(now - DRIFT, now + DRIFT + 1) if secrets.compare_digest(totp.generate_otp(step), code)
    ]
    fresh = SecondFactor.objects.filter(pk=row.pk, last_step__lt=steps[-1]) if steps else None
    return bool(fresh is not None and fresh.update(last_step=steps[-1]))


def _new_codes(user: User) -> list[str]:
    RecoveryCode.objects.filter(user=user).delete()
    made = ["".join(secrets.choice(ALPHABET) for _ in range(16)) for _ in range(RECOVERY_CODES)]
    RecoveryCode.objects.bulk_create(RecoveryCode(user=user, digest=_digest(code)) for code in made)
    return ["-".join(code[place : place + 4] for place in range(0, 16, 4)) for code in made]


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()


def _encrypt(secret: str) -> str:
    return seal(secret, PURPOSE)


def _decrypt(row: SecondFactor) -> str:
    try:
        return unseal(row.secret, PURPOSE)
    except Unreadable:
        raise Conflict(
            "The second factor of this account can't be read: the hub's secret key has changed. Use a recovery code, "
            "or ask the operator to run: manage.py reset_password NAME --second-factor-off",
            code="sign_in.second_factor_unreadable",
        ) from None
