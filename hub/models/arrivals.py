"""Bytes that came before the commit that names them, by the Hugging Face protocol: proven by digest, held a while.

A digest alone proves nothing: a commit may name bytes that its own user sent to this very repository, or that a
revision of it holds.
"""

import uuid

from django.conf import settings
from django.db import models

from .blobs import Blob
from .repositories import Repository


class Arrival(models.Model):
    """Whole and checked bytes that a user sent to a repository and no commit has named yet."""

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="arrivals")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="arrivals")
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT, related_name="arrivals")
    touched_at = models.DateTimeField(help_text="when they last came; they expire by this")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repository", "user", "blob"], name="arrival_once")]
        indexes = [models.Index(fields=["touched_at"], name="arrival_age")]

    def __str__(self) -> str:
        return f"{self.blob} for {self.repository}"


class ChunkStore(models.Model):
    """One user's Xet uploads to one repository. Its id stands in the address that the client talks to and remembers.

    A client remembers which chunks an address has, for good. So what is closed or swept is never opened again: the
    next upload gets another address, and sends its chunks anew.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="chunk_stores")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="chunk_stores")
    bytes = models.BigIntegerField(default=0, help_text="of the xorbs that lie on the disk")
    opened_at = models.DateTimeField(auto_now_add=True)
    touched_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [models.Index(fields=["repository", "user"], name="chunk_store_of")]

    def __str__(self) -> str:
        return str(self.id)


class Transfer(models.Model):
    """An LFS file that comes in parts to a store in S3; it is charged for from its first part on."""

    store = models.ForeignKey(ChunkStore, on_delete=models.CASCADE, related_name="transfers")
    sha256 = models.CharField(max_length=64)
    size = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["store", "sha256", "size"], name="transfer_once")]

    def __str__(self) -> str:
        return f"{self.sha256[:12]} of {self.size} bytes"
