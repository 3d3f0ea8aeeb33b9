"""What a client says it will send: refused here, before any byte arrives, if it could never be accepted."""

from collections.abc import Mapping, Sequence

from django.conf import settings

from composition.formats.content import check_paths, sniff
from hub.errors import Invalid
from hub.services.content.manifest import MAX_FILES, Entry
from hub.storage import DIGEST


def read_promise(files: Sequence[Mapping[str, object]]) -> dict[str, Entry]:
    """Path → entry of `files` [{path, size, sha256}]; Invalid or CompositionError names the first bad one."""
    if len(files) > MAX_FILES:
        raise Invalid(f"A push may hold at most {MAX_FILES} files; this one has {len(files)}.", field="files")
    promised: dict[str, Entry] = {}
    for file in files:
        path, size, sha256 = (file.get(key) for key in ("path", "size", "sha256"))
        if not isinstance(path, str) or path in promised:
            raise Invalid(f"Every file needs its own path; {path!r} is not a path, or is listed twice.", field="files")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise Invalid(f"{path}: size must be a number of bytes, not {size!r}.", field="files", path=path)
        if size > settings.MAX_FILE_BYTES:
            raise Invalid(
                f"{path} has {size:,} bytes; this hub takes files of at most {settings.MAX_FILE_BYTES:,}.",
                code="upload.too_large",
                field="files",
                path=path,
                limit=settings.MAX_FILE_BYTES,
            )
        if not isinstance(sha256, str) or not DIGEST.fullmatch(sha256):
            raise Invalid(f"{path}: sha256 must be 64 lower-case hex digits.", field="files", path=path)
        promised[path] = Entry(sha256, size)
    check_paths(list(promised))
    for path, entry in promised.items():
        sniff(path, b"", size=entry.size, beside=promised)
    return promised
