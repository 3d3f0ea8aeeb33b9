"""What the account page shows, and the QR code of a second factor."""

import segno

from hub import access, queries
from hub.access import Viewer
from hub.services import mail
from hub.services.signing_in import second_factor


def account_page(viewer: Viewer) -> dict:
    """The signed-in user's address, second factor, tokens and latest sign-ins."""
    user = access.require_user(viewer)
    return {
        "email": user.email,
        "mail": mail.is_set(),
        "second_factor": second_factor.is_on(user),
        "connections": queries.identities(viewer),
        "codes_left": second_factor.recovery_codes_left(user),
        "tokens": queries.tokens(viewer).count(),
        "sign_ins": queries.sign_ins(viewer)[:10],
    }


def qr_code(address: str) -> str:
    """The address as an SVG in a `data:` URI, which the pages' policy lets an <img> show."""
    return segno.make(address, error="m").svg_data_uri(scale=5, border=3, dark="#000", light="#fff")
