"""Large files from the stock client (huggingface_hub, hf_xet) to a served hub, and what cuts, kills and wipes do."""

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from hub.models import Arrival, ChunkStore, Repository, Version
from hub.runtime.valkey import free_port
from hub.services import tokens
from hub.services.arrivals import stores
from hub.services.content.publishing import head_of, manifest_of
from hub.services.upkeep import fsck
from hub.storage import blobs
from tests.hub import factories
from tests.hub.front.wire import ROOT, answers, granian
from tests.hub.hf.clients import Client, ended, kill, rss, until

MB = 1_000_000
PUSH = """
api.upload_folder(repo_id="{repo}", folder_path="{folder}")
"""
FETCH = """
print(hh.snapshot_download("{repo}", token=os.environ["TOKEN"], endpoint=os.environ["HF_ENDPOINT"]))
"""


class Hub:
    """A hub over the tests' database and folders, behind the front, as a process that can be killed."""

    def __init__(self, log: Path) -> None:
        self.log, self.port, self.process = log, free_port("127.0.0.1"), None

    def start(self) -> None:
        environment = os.environ | {
            "DATABASE_URL": f"sqlite:///{connection.settings_dict['NAME']}",
            "DJANGO_SETTINGS_MODULE": "tests.hub.front.settings",
            "HUB_DATA": str(settings.HUB_DATA),
            "HUB_SECRET_KEY": settings.SECRET_KEY,
            "REDIS_URL": "redis://127.0.0.1:1/0",
        }
        command = granian("hub.asgi:application", "asgi", "--http", "1")(self.port)
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                command, env=environment, cwd=ROOT, stdout=out, stderr=out, start_new_session=True
            )
        until(lambda: answers(self.port))

    def stop(self, signal: int = 15) -> None:
        os.killpg(self.process.pid, signal)
        self.process.wait(30)

    def asked(self, what: str) -> int:
        """How often a request with these words was answered."""
        return sum(what in line for line in self.log.read_text().splitlines())


@pytest.fixture(scope="module")
def process(django_db_setup, tmp_path_factory) -> Iterator[Hub]:
    if connection.vendor != "sqlite":
        pytest.skip("It is served over the tests' own database file.")
    made = Hub(tmp_path_factory.mktemp("hub") / "log")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def hub(process, transactional_db) -> Hub:
    """The hub, with an empty database."""
    process.log.write_text("")
    return process


@pytest.fixture
def ada(hub):
    return factories.make_user("ada")


def client(hub: Hub, user, home: Path, **environment: str) -> Client:
    secret = tokens.create_token(actor=user, name="client", scopes=("read", "write"))[1]
    return Client(f"http://127.0.0.1:{hub.port}", secret, home, **environment)


def write(path: Path, megabytes: float, seed: int = 1) -> str:
    """A valid safetensors file of one tensor of random bytes; its SHA-256."""
    import numpy as np

    data = np.random.default_rng(seed).bytes(int(megabytes * MB))
    head = b'{"x":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (len(data), len(data))
    head += b" " * (-len(head) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(head).to_bytes(8, "little") + head + data)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def held(repository: Repository) -> dict[str, str]:
    """Path → SHA-256 of `main`, every blob read again."""
    found = manifest_of(head_of(repository, "main"))
    for entry in found.values():
        with blobs.open(entry.sha256) as stream:
            assert hashlib.file_digest(stream, "sha256").hexdigest() == entry.sha256
    return {path: entry.sha256 for path, entry in found.items()}


@pytest.mark.parametrize("way", ["xet", pytest.param("lfs", marks=pytest.mark.slow)])
def test_a_folder_with_large_files_goes_up_and_comes_back_the_same(hub, ada, tmp_path, way):
    place = factories.make_repository(ada, "large")
    large, small = (
        write(tmp_path / "f" / "large.safetensors", 68),
        write(tmp_path / "f" / "in" / "b.safetensors", 11, 2),
    )
    one = client(hub, ada, tmp_path / "home", **({"HF_HUB_DISABLE_XET": "1"} if way == "lfs" else {}))
    said = one.run(PUSH.format(repo="ada/large", folder=tmp_path / "f") + FETCH.format(repo="ada/large"))
    assert held(place) == {"large.safetensors": large, "in/b.safetensors": small}
    snapshot = Path(said.splitlines()[-1])
    for path, sha256 in (("large.safetensors", large), ("in/b.safetensors", small)):
        assert hashlib.sha256((snapshot / path).read_bytes()).hexdigest() == sha256
    assert bool(hub.asked("/v1/xorbs/")) == (way == "xet")
    assert hub.asked("PUT /api/lfs/") == (0 if way == "xet" else 3), "One file whole, the other in two parts."
    assert not Arrival.objects.exists()


@pytest.mark.slow
def test_a_folder_of_many_files_and_a_large_one_makes_a_version_of_an_adapter(hub, ada, tmp_path):
    """As `upload_large_folder` was for: more files than one commit of the client takes, so that it makes several."""
    factories.make_base()
    folder = tmp_path / "f"
    folder.mkdir()
    for name, data in factories.adapter_files().items():
        (folder / name).write_bytes(data)
    write(folder / "more" / "big.dat", 70)
    for number in range(300):
        (folder / "more" / f"{number}.txt").write_text(f"note {number}")
    program = 'api.create_repo("ada/big")' + PUSH.format(repo="ada/big", folder=folder)
    client(hub, ada, tmp_path / "home").run(program)
    repository = Repository.objects.get(name="big")
    found = held(repository)
    assert {"adapter_config.json", "more/big.dat"} <= found.keys()
    assert sum(path.endswith(".txt") for path in found) == 300
    assert hub.asked("/commit/main 200") >= 2
    assert Version.objects.filter(repository=repository).exists()


def kept(store: ChunkStore) -> list[Path]:
    """The xorbs that have come whole."""
    return list(stores.folder(store).glob("xorbs/*.index"))


@pytest.mark.slow
@pytest.mark.parametrize("who", ["client", "hub"])
def test_an_upload_that_is_cut_goes_on_with_what_came(hub, ada, tmp_path, who):
    """Killed at half of the bytes: nothing is half there, and a new process sends the rest."""
    place = factories.make_repository(ada, "cut")
    large = write(tmp_path / "f" / "large.safetensors", 400)
    one = client(hub, ada, tmp_path / "home")
    push = PUSH.format(repo="ada/cut", folder=tmp_path / "f")
    under_way = one.start(push)
    until(lambda: ChunkStore.objects.exists() and len(kept(ChunkStore.objects.get())) >= 2)
    if who == "hub":
        hub.stop(9)
    kill(under_way)
    if who == "hub":
        hub.start()
    store = ChunkStore.objects.get()
    assert head_of(place, "main") is None
    assert not Arrival.objects.exists()
    assert len(kept(store)) >= 2
    one.run(push)
    assert held(place) == {"large.safetensors": large}
    assert ChunkStore.objects.get() == store, "The same address, with what had come."
    assert not list(fsck.check(fsck.look()))


@pytest.mark.slow
def test_a_client_whose_cache_knows_a_wiped_store_uploads_all_the_same(hub, ada, tmp_path):
    """It believes that its chunks are there. They aren't, and it gets another address, where it believes nothing."""
    places = [factories.make_repository(ada, name) for name in ("first", "second")]
    large = write(tmp_path / "f" / "large.safetensors", 70)
    one = client(hub, ada, tmp_path / "home")
    one.run(PUSH.format(repo="ada/first", folder=tmp_path / "f"))
    for store in ChunkStore.objects.all():
        shutil.rmtree(stores.folder(store))
    ChunkStore.objects.update(closed_at=None)
    one.run('api.upload_file(path_or_fileobj=b"x", path_in_repo="note.txt", repo_id="ada/first")')
    one.run('api.delete_file("large.safetensors", repo_id="ada/first")')
    (tmp_path / "f" / "large.safetensors").rename(tmp_path / "f" / "again.safetensors")
    one.run(PUSH.format(repo="ada/first", folder=tmp_path / "f"))
    assert held(places[0]) == {"again.safetensors": large, "note.txt": hashlib.sha256(b"x").hexdigest()}
    one.run(PUSH.format(repo="ada/second", folder=tmp_path / "f"))
    assert held(places[1]) == {"again.safetensors": large}


@pytest.mark.slow
def test_two_tenants_on_one_machine_send_the_same_file_each_for_themselves(hub, ada, tmp_path):
    bob = factories.make_user("bob")
    large = write(tmp_path / "f" / "large.safetensors", 70)
    for user in (ada, bob):
        place = factories.make_repository(user, "mine", visibility="private")
        client(hub, user, tmp_path / "home").run(PUSH.format(repo=f"{user.username}/mine", folder=tmp_path / "f"))
        assert held(place) == {"large.safetensors": large}
    assert ChunkStore.objects.count() == 2
    assert hub.asked("POST /xet/") >= 4, "The second one has sent all its chunks too."


@pytest.mark.slow
@pytest.mark.parametrize("way", ["xet", "lfs"])
def test_the_servers_memory_does_not_grow_with_the_file(hub, ada, tmp_path, way):
    factories.make_repository(ada, "flat")
    one = client(hub, ada, tmp_path / "home", **({"HF_HUB_DISABLE_XET": "1"} if way == "lfs" else {}))
    peaks = {}
    for megabytes in (150, 500):
        write(tmp_path / str(megabytes) / "large.safetensors", megabytes, megabytes)
        under_way, peaks[megabytes] = one.start(PUSH.format(repo="ada/flat", folder=tmp_path / str(megabytes))), 0
        while under_way.poll() is None:
            peaks[megabytes] = max(peaks[megabytes], rss(hub.process.pid))
            time.sleep(0.02)
        assert under_way.returncode == 0, ended(under_way)
        ended(under_way)
    print(way, {size: f"{peak / MB:.0f} MB" for size, peak in peaks.items()})
    assert peaks[500] - peaks[150] < 100 * MB
