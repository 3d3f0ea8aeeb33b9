"""What the parts of an address may be; anything else matches no route. Strict, so that no database sees a NUL."""

from django.urls import register_converter

from hub.names import DATASETS, NAME, REF, REF_PATTERN


class Name:
    """A namespace, repository or user name."""

    regex = NAME.pattern

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return str(value)


class Place(Name):
    """Where a repository's name stands: a namespace for models, `datasets/` and the namespace for datasets."""

    regex = rf"(?:{DATASETS})?{NAME.pattern}"


class RepositoryType(Name):
    """The name spaces of the Hugging Face protocol."""

    regex = "models|datasets"


class RefName(Name):
    """A ref without '/': vN, latest, a revision id, most branches and tags. One with '/' is asked for by its id."""

    regex = r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}"


class LongRef(Name):
    """A branch or tag, '/' allowed."""

    regex = REF.pattern


class RefPattern(Name):
    """A name of refs with * for any characters."""

    regex = REF_PATTERN.pattern


class Path(Name):
    """A file's path, a base's name or alias: anything printable, '/' included."""

    regex = r"[^\x00-\x1f]{1,1024}"


class Number(Name):
    """A row's number, within what databases hold."""

    regex = r"[0-9]{1,18}"

    def to_python(self, value: str) -> int:
        return int(value)


NAMES = {
    "type": RepositoryType,
    "name": Name,
    "place": Place,
    "ref": RefName,
    "longref": LongRef,
    "refpattern": RefPattern,
}
for word, converter in {**NAMES, "anypath": Path, "number": Number}.items():
    register_converter(converter, word)
