"""A storage that looks to Django like S3: bytes by name, overwritten on save, and no path on this machine."""

from django.core.files.storage import FileSystemStorage, Storage


class PathlessStorage(Storage):
    """Django's folder storage with its paths hidden."""

    def __init__(self, location: str) -> None:
        self.folder = FileSystemStorage(location=location, allow_overwrite=True)
        for name in ("_open", "_save", "exists", "delete", "listdir", "size", "get_modified_time"):
            setattr(self, name, getattr(self.folder, name))

    def get_available_name(self, name, max_length=None):
        return name
