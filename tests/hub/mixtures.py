"""A mixture in the hub, as a worker publishes one, of adapters that are there as versions."""

from pathlib import Path

from composition.formats import read_adapter
from composition.moe.assemble import assemble
from composition.moe.save import save_assembly
from composition.recipes import MeteoraRecipe
from hub.models import Origin, Repository, Version
from hub.services.content.manifest import manifest_of
from hub.storage import blobs
from tests.hub import factories


def folder_of(version: Version, folder: Path) -> Path:
    """The version's files on the disk."""
    folder.mkdir(parents=True)
    for path, entry in manifest_of(version.revisions.order_by("pk").first()).items():
        with blobs.open(entry.sha256) as stream:
            (folder / path).write_bytes(stream.read())
    return folder


def make_mixture(user, parents: list[Version], folder: Path, *, names=None, **repository: object) -> Version:
    """`mix`, of these parents, with their digests in its config; `names` are what it calls them."""
    adapters, sources = [], []
    for number, parent in enumerate(parents):
        adapters.append(read_adapter(folder_of(parent, folder / str(number))))
        adapters[-1].name = names[number] if names else str(parent)
        manifest = manifest_of(parent.revisions.order_by("pk").first())
        sources.append({"sha256": manifest["adapter_model.safetensors"].sha256, "license": "mit"})
    save_assembly(assemble(adapters, MeteoraRecipe(train="prototype"), sources=sources), folder / "mix")
    files = {path.name: path.read_bytes() for path in (folder / "mix").iterdir()}
    report = {"method": "meteora", "summary": {}, "warnings": [], "training": {}, "routing": None}
    made = {"origin": Origin.ASSEMBLED, "recipe": {"kind": "meteora"}, "report": report}
    target = factories.make_repository(user, "mix", **repository)
    version = factories.publish(user, target, files, base=parents[0].base, parents=parents, **made).version
    # A parent may have become private since.
    Repository.objects.filter(pk=target.pk).update(visibility=repository.get("visibility", "public"))
    return Version.objects.get(pk=version.pk)
