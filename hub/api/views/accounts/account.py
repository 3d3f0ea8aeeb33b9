"""My account over REST: the same services as the account page, by a token with the scope admin.

What a stolen token must not do asks for the password, and for a code where there is a second factor.
"""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from hub.api.bodies import Body, Text
from hub.api.bodies import Password as PasswordText
from hub.api.view import View
from hub.http.visitors import visitor_of
from hub.models import User
from hub.services import accounts, leaving
from hub.services.signing_in import passwords, second_factor, sessions
from hub.services.signing_in.sign_in import confirm

TAGS = ["account"]


class ConfirmBody(Body):
    """The password again, and the code of a second factor."""

    password = PasswordText()
    code = Text(max_length=40, default="", allow_blank=True)


class PasswordBody(ConfirmBody):
    """The old password and the new one."""

    new_password = PasswordText()


class EmailBody(ConfirmBody):
    """The new address, "" for none."""

    email = Text(max_length=254, allow_blank=True)


class EndBody(Body):
    """What is to end."""

    what = serializers.ChoiceField(["sessions", "tokens", "everything"])


class CodeBody(Body):
    """A first code of the app."""

    code = Text(max_length=40)


class AccountShape(serializers.Serializer):
    """My account."""

    username = serializers.CharField()
    email = serializers.CharField()
    second_factor = serializers.BooleanField()
    recovery_codes_left = serializers.IntegerField()


class SecretShape(serializers.Serializer):
    """What an authenticator app needs."""

    secret = serializers.CharField(help_text="base32")
    address = serializers.CharField(help_text="otpauth://…, the content of the QR code")


class CodesShape(serializers.Serializer):
    """Recovery codes, shown this once."""

    recovery_codes = serializers.ListField(child=serializers.CharField())


class AccountView(View):
    """Everything here is its user's own affair: a token needs the scope admin."""

    scopes = {"POST": "admin"}

    def confirmed(self, body: type[ConfirmBody] = ConfirmBody) -> tuple[User, dict]:
        """The user, after password and code, and what else was given."""
        user, given = self.actor(), self.read(body)
        asked = {name: given.pop(name) for name in ("password", "code")}
        confirm(user=user, **asked, visitor=visitor_of(self.request, "api"))
        return user, given


class Account(AccountView):
    """What I keep here."""

    @extend_schema(operation_id="account_read", tags=TAGS, responses=AccountShape)
    def get(self, request):
        user = self.actor()
        shown = {"username": user.username, "email": user.email, "second_factor": second_factor.is_on(user)}
        return Response(shown | {"recovery_codes_left": second_factor.recovery_codes_left(user)})


class Password(AccountView):
    """A new password; all my sessions and tokens end."""

    @extend_schema(operation_id="account_password", tags=TAGS, request=PasswordBody, responses={204: None})
    def post(self, request):
        user, given = self.confirmed(PasswordBody)
        passwords.set_password(actor=user, user=user, password=given["new_password"])
        return Response(status=204)


class Email(AccountView):
    """Another e-mail address."""

    @extend_schema(operation_id="account_email", tags=TAGS, request=EmailBody, responses={204: None})
    def post(self, request):
        user, given = self.confirmed(EmailBody)
        accounts.set_email(actor=user, user=user, email=given["email"])
        return Response(status=204)


class End(AccountView):
    """End all my sessions, all my tokens, or both; the token that asks ends too."""

    @extend_schema(operation_id="account_end", tags=TAGS, request=EndBody, responses={204: None})
    def post(self, request):
        user, what = self.actor(), self.read(EndBody)["what"]
        ends = {"sessions": sessions.end_sessions, "tokens": sessions.end_tokens}
        ends.get(what, sessions.end_everything)(actor=user, user=user)
        return Response(status=204)


class SecondFactor(AccountView):
    """Begin to set up one-time codes; nothing changes until the first code is confirmed."""

    @extend_schema(operation_id="second_factor_begin", tags=TAGS, request=ConfirmBody, responses={201: SecretShape})
    def post(self, request):
        user, _ = self.confirmed()
        secret = second_factor.begin(user=user)
        return Response({"secret": secret, "address": second_factor.address_of(user, secret)}, status=201)


class ConfirmSecondFactor(AccountView):
    """Switch the second factor on by a first code."""

    @extend_schema(operation_id="second_factor_confirm", tags=TAGS, request=CodeBody, responses=CodesShape)
    def post(self, request):
        user, code = self.actor(), self.read(CodeBody)["code"]
        return Response({"recovery_codes": second_factor.confirm(user=user, code=code)})


class SecondFactorOff(AccountView):
    """Switch the second factor off, by password and code."""

    @extend_schema(operation_id="second_factor_off", tags=TAGS, request=ConfirmBody, responses={204: None})
    def post(self, request):
        user, _ = self.confirmed()
        second_factor.switch_off(actor=user, user=user)
        return Response(status=204)


class RecoveryCodes(AccountView):
    """New recovery codes instead of the old ones."""

    @extend_schema(operation_id="recovery_codes_renew", tags=TAGS, request=ConfirmBody, responses=CodesShape)
    def post(self, request):
        user, _ = self.confirmed()
        return Response({"recovery_codes": second_factor.renew_codes(user=user)})


class Deactivate(AccountView):
    """Deactivate my account; an administrator can bring it back."""

    @extend_schema(operation_id="account_deactivate", tags=TAGS, request=ConfirmBody, responses={204: None})
    def post(self, request):
        user, _ = self.confirmed()
        leaving.deactivate_user(actor=user, user=user)
        return Response(status=204)


class Delete(AccountView):
    """Delete my account; 409 lists what stands in the way."""

    @extend_schema(operation_id="account_delete", tags=TAGS, request=ConfirmBody, responses={204: None})
    def post(self, request):
        user, _ = self.confirmed()
        leaving.delete_user(actor=user, user=user)
        return Response(status=204)
