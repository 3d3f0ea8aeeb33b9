"""What a client says it will send: refused here, before any byte arrives, if it could never be accepted."""

from collections.abc import Mapping, Sequence

from django.conf import settings

from composition.formats.content import path_problems, sniff
from hub.errors import Invalid, collecting, refuse_all
from hub.services.content.manifest import MAX_FILES, Entry
from hub.storage import DIGEST


def read_promise(files: Sequence[Mapping[str, object]]) -> dict[str, Entry]:
    """Path → entry of `files` [{path, size, sha256, head}]; `head`, the first bytes, may be missing.

    Invalid or CompositionError: of one file, or with all the `problems` there are.
    """
    if len(files) > MAX_FILES:
        raise Invalid(f"A push may hold at most {MAX_FILES} files; this one has {len(files)}.", field="files")
    promised: dict[str, Entry] = {}
    problems: list[Exception] = []
    for file in files:
        path, size, sha256 = (file.get(key) for key in ("path", "size", "sha256"))
        if not isinstance(path, str) or path in promised:
            raise Invalid(f"Every file needs its own path; {path!r} is not a path, or is listed twice.", field="files")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise Invalid(f"{path}: size must be a number of bytes, not {size!r}.", field="files", path=path)
        if size > settings.MAX_FILE_BYTES:
            large = {"code": "upload.too_large", "field": "files", "path": path, "limit": settings.MAX_FILE_BYTES}
            what = f"{path} has {size:,} bytes; this hub takes files of at most {settings.MAX_FILE_BYTES:,}."
            problems.append(Invalid(what, **large))
        if not isinstance(sha256, str) or not DIGEST.fullmatch(sha256):
            raise Invalid(f"{path}: sha256 must be 64 lower-case hex digits.", field="files", path=path)
        promised[path] = Entry(sha256, size)
    problems += path_problems(promised)
    for file in files:
        with collecting(problems):
            sniff(file["path"], file.get("head") or b"", size=file["size"], beside=promised)
    refuse_all(problems)
    return promised
