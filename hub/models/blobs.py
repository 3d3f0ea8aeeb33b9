"""Bytes by their SHA-256, and the uploads that bring them in piece by piece."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from .accounts import Namespace
from .repositories import Repository, path_of


class Blob(models.Model):
    """Bytes stored once under the digest this server computed."""

    sha256 = models.CharField(max_length=64, primary_key=True)
    size = models.BigIntegerField()
    git_oid = models.CharField(
        max_length=40,
        blank=True,
        default="",
        db_default="",
        help_text="SHA-1 as git counts it; empty until it is asked for",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.sha256[:12]


class Upload(models.Model):
    """A push under way: files arrive in any order and any number of pieces; nothing is visible before its commit.

    A first push has no repository until its commit makes one: `namespace`, `name`, `kind`, `visibility` say which.
    Files of a base go to `base`, by the `namespace` of who pushes them; the kind is `OF_BASE`, and there is no name.
    """

    OF_BASE = "base"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    repository = models.ForeignKey(Repository, null=True, blank=True, on_delete=models.CASCADE, related_name="uploads")
    namespace = models.ForeignKey(Namespace, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=96, blank=True, default="", db_default="")
    kind = models.CharField(max_length=10, blank=True, default="", db_default="")
    visibility = models.CharField(max_length=8, blank=True, default="", db_default="")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="uploads")
    message = models.CharField(max_length=500, blank=True)
    branch = models.CharField(max_length=200, default="main")
    parent = models.ForeignKey(
        "Revision",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="the branch's head when the upload began: what came after is checked for conflicts",
    )
    base = models.ForeignKey("BaseModel", null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    deletions = models.JSONField(default=list)
    created_at = models.DateTimeField(auto_now_add=True)
    touched_at = models.DateTimeField(
        default=timezone.now, db_default=Now(), help_text="when bytes last came, to the minute; it expires by this"
    )
    committed_at = models.DateTimeField(null=True, blank=True)
    held_by = models.CharField(max_length=32, blank=True, default="", db_default="")
    held_until = models.DateTimeField(
        null=True, blank=True, help_text="until then one request commits or removes it, where the bytes are in S3"
    )
    revision = models.ForeignKey("Revision", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        indexes = [models.Index(fields=["user"], condition=Q(committed_at=None), name="upload_open")]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def place(self) -> Repository | Namespace:
        """Where it takes a role to go on with it: the repository, or the namespace of one that is not there yet."""
        return self.repository or self.namespace

    @property
    def is_of_base(self) -> bool:
        """Whether the files are a base's own."""
        return self.repository_id is None and self.kind == self.OF_BASE

    @property
    def path(self) -> str:
        """The repository's, also of one that the commit makes; of a base's files the base's name."""
        if self.is_of_base:
            return str(self.base)
        return self.repository.path if self.repository else path_of(self.kind, self.namespace.name, self.name)


class UploadFile(models.Model):
    """One file of an upload: what the client promised, and how many bytes have come."""

    upload = models.ForeignKey(Upload, on_delete=models.CASCADE, related_name="files")
    path = models.CharField(max_length=1024)
    size = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    received = models.BigIntegerField(default=0)
    blob = models.ForeignKey(Blob, null=True, blank=True, on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["upload", "path"], name="upload_path_unique")]

    def __str__(self) -> str:
        return f"{self.path} {self.received}/{self.size}"


class StagedPart(models.Model):
    """Bytes of a file that has not come whole: an object in the store's bucket, of no other bytes ever.

    It is of a file of an upload, or of an LFS file in parts. Several rows may name one object: it goes with the last.
    """

    file = models.ForeignKey(UploadFile, null=True, blank=True, on_delete=models.CASCADE, related_name="parts")
    transfer = models.ForeignKey("Transfer", null=True, blank=True, on_delete=models.CASCADE, related_name="parts")
    offset = models.BigIntegerField()
    size = models.BigIntegerField()
    name = models.UUIDField(db_index=True, help_text="of the object")
    sha256 = models.CharField(
        max_length=64, blank=True, default="", help_text="of the file up to this part's end; empty where nobody knows"
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["file", "offset"], name="part_of_file_once"),
            models.UniqueConstraint(fields=["transfer", "offset"], name="part_of_transfer_once"),
            models.CheckConstraint(
                condition=Q(file=None, transfer__isnull=False) | Q(file__isnull=False, transfer=None),
                name="part_of_one",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.offset}+{self.size}"
