"""Content-addressed bytes: `blobs` keeps them in a folder or in S3, as STORAGE_URL says.

blobs.py     BlobStore, what everybody asks; it checks names and knows the two places
folder.py    on a disk: temporary name, sync, one rename
objects.py   in S3: each object sent once, proven on its way
client.py    the S3 client of this process: timeouts, retries, and a pause while the store is away
ranged.py    a seekable stream that asks S3 for the ranges that are read
timeouts.py  a store that does not answer, told apart from a file that is missing
"""

from hub.storage.blobs import BlobStore, blobs
from hub.storage.folder import sync_folder
from hub.storage.hashing import CHUNK, DIGEST, digest

__all__ = ["CHUNK", "DIGEST", "BlobStore", "blobs", "digest", "sync_folder"]
