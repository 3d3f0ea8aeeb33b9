"""Local folders as they are on disks: plain ones, and the snapshots of the Hugging Face cache, which hold links."""

from composition.formats import read_adapter
from composition.formats.validate import local_files, validate_adapter
from tests.uploads import SHAPES, adapter


def snapshot(cache):
    """The cache's layout: blobs/{digest}, snapshots/{revision}/{path} → ../../blobs/{digest}."""
    blobs, folder = cache / "blobs", cache / "snapshots" / ("0" * 40)
    blobs.mkdir(parents=True)
    folder.mkdir(parents=True)
    for number, (name, data) in enumerate(adapter().items()):
        (blobs / f"{number:040x}").write_bytes(data)
        (folder / name).symlink_to(f"../../blobs/{number:040x}")
    return folder


def test_a_snapshot_of_the_cache_is_read_through_its_links(tmp_path):
    folder = snapshot(tmp_path / "models--ada--x")
    assert local_files(folder).keys() == adapter().keys()
    assert local_files(folder)["adapter_config.json"].size == len(adapter()["adapter_config.json"])
    assert validate_adapter(local_files(folder), base_shapes=SHAPES).warnings == []
    assert len(read_adapter(folder)) > 0
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert local_files(link).keys() == adapter().keys()


def test_a_link_to_nothing_is_left_out_and_a_circle_ends(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_text("a")
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "sub" / "up").symlink_to("..")
    (tmp_path / "loop").symlink_to("loop")
    assert local_files(tmp_path).keys() == {"sub/a.txt"}
