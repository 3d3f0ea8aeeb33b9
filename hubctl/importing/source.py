"""Where things come from: any Hugging Face Hub endpoint, asked by huggingface_hub, which is loaded when it is needed.

A token goes only where it belongs: HUBCTL_SOURCE_TOKEN to the endpoint that is named, the one of `hf auth login` only
to that library's own endpoint. This hub's token goes nowhere else.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hubctl.errors import Forbidden, HubctlError, NotFound, Refused, Unreachable

HUGGING_FACE = "https://huggingface.co"
NOT_TAKEN = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.onnx", "*.ot", "*.tflite", "*.py", "*.zip")
"""Files that the hub does not take, so that nobody waits for them."""
OF_BASE = "base_model:adapter:"


@dataclass(frozen=True, slots=True)
class Found:
    """A model as the source has it at `commit`; `digests` are SHA-256 of its LFS files, `size` is of what is taken."""

    id: str
    commit: str
    private: bool
    licence: str
    base: str
    size: int
    files: tuple[str, ...]
    digests: dict[str, str]

    @property
    def is_adapter(self) -> bool:
        """Whether it holds an adapter of PEFT."""
        return "adapter_config.json" in self.files


class Source:
    """One endpoint. Every method raises a HubctlError in plain words for what the endpoint refuses."""

    def __init__(self, endpoint: str | None = None) -> None:
        own = (os.environ.get("HF_ENDPOINT") or HUGGING_FACE).rstrip("/")
        self.endpoint = (endpoint or own).rstrip("/")
        if urlsplit(self.endpoint).scheme not in ("http", "https"):
            raise Refused(f"{self.endpoint!r} is not the address of a hub: begin it with https:// or http://.")
        named = os.environ.get("HUBCTL_SOURCE_TOKEN")
        self.token: str | bool | None = named or (None if self.endpoint == own else False)
        self.api = _library().HfApi(endpoint=self.endpoint, token=self.token)

    def model(self, name: str, revision: str | None = None) -> Found:
        """One model, at a branch, tag or commit."""
        with _Words(self.endpoint, name):
            return _found(self.api.model_info(name, revision=revision, files_metadata=True))

    def adapters(self, *, author: str | None = None, base: str | None = None) -> Iterator[str]:
        """The ids of all adapters of an author, or of a base, that this token sees."""
        wanted: dict[str, Any] = {"author": author} if author else {"filter": f"base_model:adapter:{base}"}
        with _Words(self.endpoint, author or base or ""):
            for row in self.api.list_models(**wanted, full=True):
                if any(file.rfilename == "adapter_config.json" for file in row.siblings or ()):
                    yield row.id

    def fetch(self, found: Found, folder: Path, files: Sequence[str] = ()) -> Path:
        """Its files in `folder`: all that a hub takes, or those named. What is there already stays; digests are
        proven."""
        wanted = list(files) or [path for path in found.files if _is_taken(path)]
        with _Words(self.endpoint, found.id):
            self.api.snapshot_download(found.id, revision=found.commit, local_dir=folder, allow_patterns=wanted)
        for path in wanted:
            if path in found.digests and sha256(folder / path) != found.digests[path]:
                (folder / path).unlink()
                raise Refused(
                    f"{found.id}: {path} arrived broken, its SHA-256 is not {found.digests[path]}. Run again."
                )
        return folder


def sha256(path: Path) -> str:
    """The file's digest."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _is_taken(path: str) -> bool:
    from fnmatch import fnmatch

    return not any(fnmatch(path.lower(), pattern) for pattern in NOT_TAKEN) and not path.startswith(".")


def _found(info: Any) -> Found:
    files = [row for row in info.siblings or () if _is_taken(row.rfilename)]
    card = info.card_data.to_dict() if info.card_data else {}
    tagged = [tag.removeprefix(OF_BASE) for tag in info.tags or () if tag.startswith(OF_BASE)]
    base = card.get("base_model") or (tagged[0] if tagged else "")
    return Found(
        id=info.id,
        commit=info.sha,
        private=bool(info.private or info.gated),
        licence=str(card.get("license") or ""),
        base=base[0] if isinstance(base, list) else str(base),
        size=sum(row.size or 0 for row in files),
        files=tuple(row.rfilename for row in info.siblings or ()),
        digests={row.rfilename: row.lfs.sha256 for row in files if row.lfs},
    )


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise Refused("this needs the package huggingface_hub beside hubctl: pip install huggingface_hub") from None
    return huggingface_hub


class _Words:
    """What the library raises within it, in plain words."""

    def __init__(self, endpoint: str, name: str) -> None:
        self.endpoint, self.name = endpoint, name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, _: object) -> None:
        from huggingface_hub import errors

        if isinstance(error, errors.GatedRepoError):
            raise Forbidden(f"{self.name} is gated at {self.endpoint}: ask for access there, then run this again.")
        if isinstance(error, errors.RevisionNotFoundError):
            raise NotFound(f"{self.endpoint} has {self.name}, and not this revision of it.")
        if isinstance(error, errors.RepositoryNotFoundError):
            raise NotFound(
                f"{self.endpoint} has no {self.name}, or it is private there: set HUBCTL_SOURCE_TOKEN to a token of "
                "that hub."
            )
        if isinstance(error, errors.OfflineModeIsEnabled):
            raise Unreachable("huggingface_hub is switched offline: unset HF_HUB_OFFLINE.")
        if isinstance(error, errors.HfHubHTTPError) and getattr(error.response, "status_code", 0) in (401, 403):
            raise Forbidden(f"{self.endpoint} refuses the token: set HUBCTL_SOURCE_TOKEN to one of that hub, or none.")
        if isinstance(error, errors.HfHubHTTPError | errors.LocalEntryNotFoundError):
            raise HubctlError(f"{self.endpoint} refuses {self.name}: {error}")
        if isinstance(error, errors.HFValidationError):
            raise Refused(f"{self.name!r} is not an id of a model: write org/name.")
        if error is not None and type(error).__module__.startswith(("httpx", "httpcore", "requests")):
            raise Unreachable(f"{self.endpoint} can't be reached: {error}")
