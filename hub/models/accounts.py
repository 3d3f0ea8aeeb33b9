"""Who is here: users, the namespaces they write in, their roles there, and the tokens they give to programs.

A namespace is a user's own or an organisation's; both grant access by the same rows of `Membership`,
so that one question ("which role does this user have here?") serves both.
"""

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models.functions import Lower, Upper
from django.utils.crypto import salted_hmac


class User(AbstractUser):
    """A person. Their own namespace has the same name and is made with the account.

    A session lives as long as the password and `sign_in_epoch` stay what they were when it began.
    """

    sign_in_epoch = models.PositiveIntegerField(default=0, db_default=0)
    staff_by_group = models.BooleanField(default=False, db_default=False, help_text="an administrator by a group")

    class Meta(AbstractUser.Meta):
        # Names are looked up in any case: PostgreSQL's `iexact` asks for UPPER.
        indexes = [models.Index(Upper("username"), name="user_name_upper")]

    def _get_session_auth_hash(self, secret: str | None = None) -> str:
        """Django's own hash, so that sessions from before the first raise live on; after it, one of the epoch too."""
        plain = super()._get_session_auth_hash(secret=secret)
        if not self.sign_in_epoch:
            return plain
        return salted_hmac(
            "hub.session", f"{plain}:{self.sign_in_epoch}", secret=secret, algorithm="sha256"
        ).hexdigest()


class Role(models.TextChoices):
    """What a member may do in a namespace; each includes the one before."""

    READER = "reader"
    WRITER = "writer"
    ADMIN = "admin"

    @property
    def level(self) -> int:
        """0, 1, 2: roles compare by it."""
        return list(Role).index(self)


class Namespace(models.Model):
    """The first half of `namespace/name`: a user's own (owner set) or an organisation."""

    name = models.CharField(max_length=96)
    owner = models.OneToOneField(User, null=True, blank=True, on_delete=models.CASCADE, related_name="namespace")
    display_name = models.CharField(max_length=200, blank=True)
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", help_text="who made the organisation"
    )
    members = models.ManyToManyField(User, through="Membership", related_name="namespaces")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(Lower("name"), name="namespace_name_unique")]

    def __str__(self) -> str:
        return self.name

    @property
    def is_organisation(self) -> bool:
        """True where no single user owns the namespace."""
        return self.owner_id is None


class Membership(models.Model):
    """One user's role in one namespace."""

    namespace = models.ForeignKey(Namespace, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=8, choices=Role.choices)
    by_group = models.BooleanField(default=False, db_default=False, help_text="given by a group of the provider")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["namespace", "user"], name="membership_unique")]

    def __str__(self) -> str:
        return f"{self.user} is {self.role} of {self.namespace}"


class Token(models.Model):
    """A program's key: shown once, kept as a SHA-256, limited by scopes, an expiry, and a namespace or a repository.

    Where the namespace or the repository of its limit is deleted for good, the token goes with it: it never widens.
    """

    class Scope(models.TextChoices):
        DOWNLOAD = "download"
        READ = "read"
        WRITE = "write"
        ADMIN = "admin"

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=12)
    digest = models.CharField(max_length=64, unique=True)
    scopes = models.JSONField(default=list)
    namespace = models.ForeignKey(Namespace, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    repository = models.ForeignKey("Repository", null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(namespace=None) | models.Q(repository=None), name="token_one_limit"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.prefix}… ({self.name})"


class SecondFactor(models.Model):
    """A user's time-based one-time codes (RFC 6238); asked for once `confirmed_at` is set."""

    user = models.OneToOneField(User, on_delete=models.CASCADE, related_name="second_factor")
    secret = models.CharField(max_length=300, help_text="the base32 secret, encrypted with a key made of SECRET_KEY")
    created_at = models.DateTimeField(auto_now_add=True)
    confirmed_at = models.DateTimeField(null=True, blank=True)
    last_step = models.BigIntegerField(default=0, help_text="the time step of the last code taken; none is taken twice")

    def __str__(self) -> str:
        return f"second factor of {self.user}"


class RecoveryCode(models.Model):
    """A code that stands in for a one-time code once; shown once, kept as a SHA-256 of its 80 random bits."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="recovery_codes")
    digest = models.CharField(max_length=64)
    used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "digest"], name="recovery_code_unique")]

    def __str__(self) -> str:
        return f"recovery code of {self.user}"
