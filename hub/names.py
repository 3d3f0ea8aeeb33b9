"""Which names may be given to namespaces, repositories and refs, so that every URL stays unambiguous."""

import re

from django.utils.crypto import salted_hmac

from hub.errors import Invalid

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
BASE_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
BASE_REVISION = re.compile(r"[A-Za-z0-9][\w.-]{0,63}", re.ASCII)
REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")
REF_PATTERN = re.compile(r"[A-Za-z0-9*][A-Za-z0-9._/*-]{0,199}")
VERSION = re.compile(r"v([1-9][0-9]{0,8})")
PULL = re.compile(r"refs/pr/([1-9][0-9]{0,8})")
OID = re.compile(r"[0-9a-f]{40}")
VERSION_SUFFIX = re.compile(r".*\.v[0-9]+", re.IGNORECASE)

# First segments of the site's own URLs, and of the Hugging Face protocol's.
RESERVED = frozenset(
    """
    about account admin api auth bases browse collections compare datasets docs explore generate generators health
    healthz help install jobs login logout me media merge metrics models new notifications oauth organisations
    organizations raw readyz resolve search settings sign-in sign-out sign-up spaces static tokens trash upload uploads
    users v1 v2 versions well-known whoami workers xet
    """.split()
)

DATASETS = "datasets/"
"""What stands before the name of a dataset: `datasets/ns/name`. Models have no word before theirs."""

GAVE_WAY = "-deleted"
"""What follows in the name of a repository in the trash, once another has its name."""

WORKER = re.compile(r"worker-[0-9a-f]{8}")


def worker_name(host: str) -> str:
    """What everyone calls the worker process `host` ("machine-pid"): it tells nothing of the machine; "" stays ""."""
    if not host or WORKER.fullmatch(host):
        return host
    return f"worker-{salted_hmac('hub.worker', host).hexdigest()[:8]}"


def split_path(path: str, within: str = "") -> tuple[str, str]:
    """`ns/name` or `datasets/ns/name` as (place, name), the place being `ns` or `datasets/ns`.

    `name` alone, or `datasets/name`, is one of the namespace `within`; without that its place is "". What has more
    parts keeps them in its name, where no repository has them.
    """
    prefix = DATASETS if path.startswith(DATASETS) else ""
    namespace, slash, name = path.removeprefix(prefix).partition("/")
    if slash:
        return f"{prefix}{namespace}", name
    return (f"{prefix}{within}", namespace) if within else ("", path)


def split_place(place: str) -> tuple[str, bool]:
    """The namespace of a place, and whether it is the place of its datasets: `datasets/ns` is ("ns", True)."""
    return place.removeprefix(DATASETS), place.startswith(DATASETS)


def check_namespace(name: str) -> str:
    """`name`, if it can be a namespace; Invalid names the rule it breaks."""
    _check(name, "namespace")
    if name.lower() in RESERVED:
        raise Invalid(f"The namespace {name!r} is reserved for the site's own pages; choose another.", field="name")
    return name


def check_repository(name: str) -> str:
    """`name`, if it can be a repository; names ending in `.vN` are kept for versions seen as repositories."""
    _check(name, "repository")
    if VERSION_SUFFIX.fullmatch(name):
        raise Invalid(
            f"{name!r} ends in .vN, which is reserved for versions; choose another name.",
            field="name",
        )
    return name


def check_ref(name: str) -> str:
    """`name`, if it can be a branch or tag: not `latest`, not like a version or a revision id."""
    if not REF.fullmatch(name) or ".." in name or "//" in name or name.endswith(("/", ".lock")):
        raise Invalid(
            f"{name!r} can't name a branch or tag: use letters, digits, '.', '_', '-' and '/', at most 200.",
            field="name",
        )
    if VERSION.fullmatch(name) or OID.fullmatch(name) or name == "latest" or name.partition("/")[0] == "refs":
        raise Invalid(
            f"{name!r} is a name only the hub gives (version, revision id, latest, refs, refs/…); choose another.",
            field="name",
        )
    return name


def _check(name: str, what: str) -> None:
    if not NAME.fullmatch(name) or "--" in name or ".." in name or name.endswith((".git", ".", "-")):
        raise Invalid(
            f"{name!r} can't name a {what}: use 1 to 96 letters, digits, '.', '_' or '-', a letter or digit first, "
            "without '--' or '..' and not ending in '.', '-' or '.git'.",
            field="name",
        )
