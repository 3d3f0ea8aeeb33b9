"""Folders as people have them: what is left out, all that stands in the way at once, and the way on that is named."""

import json
import os
import shlex
import shutil
import unicodedata
from pathlib import Path

import pytest

from composition.base_models import module_shapes
from hub.models import ManifestEntry, Repository, Upload, Version
from hub.services import known_bases
from hubctl.errors import Refused
from hubctl.folders.pick import pick
from hubctl.folders.rules import left_out
from tests.hub import factories
from tests.hubctl.conftest import write

CASES = Path(__file__).resolve().parents[1] / "field" / "cases"
BASES = CASES.parent / "bases"
TWO = {"adapter_config.json", "adapter_model.safetensors"}


@pytest.fixture
def bases(served):
    """`bases("gemma3")` registers one of the cases' bases as pico/gemma3, with its shapes."""

    def register(name: str):
        made = factories.make_base(f"pico/{name}", ready=False)
        shapes = module_shapes(json.loads((BASES / f"{name}.json").read_text()))
        return known_bases.set_shapes(base=made, shapes=shapes, fingerprint=f"{len(shapes):064x}", parameters=1)

    return register


@pytest.fixture
def llama(bases):
    """The base that most cases name."""
    return bases("llama")


def held() -> set[str]:
    """The paths of the newest version's files."""
    revision = Version.objects.latest("pk").revisions.latest("pk")
    return set(ManifestEntry.objects.filter(revision=revision).values_list("path", flat=True))


@pytest.mark.django_db(transaction=True)
class TestFieldCases:
    @pytest.mark.parametrize(
        ("case", "left", "kept"),
        [
            (
                "f01_trainer_checkpoint",
                {"optimizer.pt", "rng_state.pth", "runs/", "scheduler.pt", "training_args.bin"},
                {"trainer_state.json", "chat_template.jinja", "README.md"},
            ),
            (
                "f02_deepspeed_checkpoint",
                {"global_step100/", "latest", "training_args.bin", "zero_to_fp32.py"},
                {"merges.txt", "vocab.json"},
            ),
            ("f03_output_dir", {"checkpoint-500/", "checkpoint-1000/"}, {"training_loss.png", "all_results.json"}),
            ("f08c_colon", set(), {"runs 12:30.txt"}),
            ("f08_nfd_name", set(), {"résumé.md", "訓練ログ.txt"}),
            ("f11_tokenizer_files", set(), {"qwen.tiktoken"}),
            ("f11b_spm", set(), {"vocab.txt", "bpe.codes", "spiece.model"}),
            ("f13_hidden", {".DS_Store", ".huggingface/", ".hydra/", "Thumbs.db", "desktop.ini"}, set()),
        ],
    )
    def test_what_training_leaves_behind_stays_here(self, hubctl, signed_in, llama, case, left, kept):
        done = hubctl("push", CASES / case, "ada/x", "--json")
        assert done.code == 0, done.err
        assert done.json["version"] == "v1"
        assert set(done.json["left_out"]) == left
        assert {*TWO, *kept} <= held()
        assert all(unicodedata.is_normalized("NFC", path) for path in held())
        assert done.err.count("\n") == bool(left), "one line says what was left out"
        assert all(name in done.err for name in left)

    @pytest.mark.parametrize(
        ("case", "flags", "offenders"),
        [
            ("f08b_case_pair", (), {"readme.md"}),
            ("f14_wandb_logs", (), {"run.sh"}),
            ("f01_trainer_checkpoint", ("--all",), {"optimizer.pt", "rng_state.pth", "scheduler.pt"}),
        ],
    )
    def test_all_offenders_are_named_and_the_command_for_the_rest_works(
        self, hubctl, signed_in, llama, case, flags, offenders
    ):
        refused = hubctl("push", CASES / case, "ada/x", *flags)
        assert refused.code == 1
        assert all(name in refused.err for name in offenders), refused.err
        assert not Repository.objects.exists() and not Upload.objects.exists()
        command = refused.err.partition("To push the rest: ")[2].splitlines()[0]
        words = shlex.split(command)
        assert words[:4] == ["hubctl", "push", str(CASES / case), "ada/x"]
        done = hubctl(*words[1:])
        assert done.code == 0, done.err
        assert held() >= TWO and not offenders & held()

    def test_all_offenders_are_facts_for_programs(self, hubctl, signed_in, llama):
        refused = json.loads(hubctl("push", CASES / "f01_trainer_checkpoint", "ada/x", "--all", "--json").err)
        problems = {row["path"]: row["code"] for row in refused["problems"]}
        assert set(problems) == {
            "optimizer.pt",
            "rng_state.pth",
            "scheduler.pt",
            "training_args.bin",
        }
        assert problems["optimizer.pt"] == "content.pickle"
        assert refused["push"].startswith("hubctl push ")

    def test_what_a_file_holds_is_told_before_it_is_sent(self, hubctl, signed_in, llama, tmp_path):
        folder = shutil.copytree(CASES / "f08_nfd_name", tmp_path / "a")
        write(folder, {"notes.txt": b"\x80\x02}q\x00.", "rows.md": b"\x7fELF" + bytes(5000)})
        refused = hubctl("push", folder, "ada/x")
        assert "notes.txt" in refused.err and "rows.md" in refused.err
        assert not Upload.objects.exists()

    def test_a_refused_first_push_leaves_no_repository(self, hubctl, signed_in, llama, tmp_path):
        folder = write(tmp_path / "bad", factories.adapter_files(base_name="nobody/knows"))
        assert hubctl("push", folder, "ada/x").code == 1
        assert hubctl("info", "ada/x").code == 4
        assert not Repository.objects.exists()

    def test_warnings_of_the_version_are_shown(self, hubctl, signed_in, llama):
        case = CASES / "c08_targets_of_other_architectures"
        pushed = hubctl("push", case, "ada/x", "--json")
        told = pushed.json["warnings"]
        assert told and told == hubctl("info", "ada/x", "--json").json["version"]["facts"]["warnings"]
        assert f"warning: {told[0]}" in hubctl("push", case, "ada/x").out.splitlines(), "also of what is there already"


@pytest.mark.django_db(transaction=True)
class TestKinds:
    """The kind of a new repository is what the files are."""

    @pytest.mark.parametrize(
        ("files", "kind"),
        [
            (factories.generator_files(), "generator"),
            (factories.adapter_files(), "adapter"),
            (factories.dataset_files() | {"README.md": b"# Sums\n"}, "dataset"),
        ],
        ids=["generator", "adapter", "dataset"],
    )
    def test_the_files_say_it(self, hubctl, signed_in, base, tmp_path, files, kind):
        folder = write(tmp_path / "a", files)
        done = hubctl("push", folder, "ada/x", "--json")
        assert done.json["version"] == "v1", done.err
        assert Repository.objects.get().kind == kind
        card = write(tmp_path / "card", {"README.md": b"# A card\n"})
        assert hubctl("push", card, "ada/x").code == 0, "a card goes to any kind"

    def test_another_kind_is_refused(self, hubctl, signed_in, base, adapter, tmp_path):
        assert hubctl("push", adapter, "ada/x").code == 0
        refused = hubctl("push", adapter, "ada/x", "--kind", "generator")
        assert refused.code == 1
        assert "is a repository of kind adapter, and this push is of kind generator" in refused.err
        beside = hubctl("push", write(tmp_path / "d", factories.dataset_files()), "ada/x")
        assert beside.out.splitlines()[0] == "datasets/ada/x@v1 pushed", "a dataset of the name is another thing"


class TestPicking:
    def test_globs_choose(self, tmp_path):
        write(tmp_path, {"a.json": b"", "b.py": b"", "sub/c.json": b"", "sub/d.txt": b"", "sub[1]/e.txt": b""})
        assert set(pick(tmp_path, include=["*.json"]).files) == {"a.json", "sub/c.json"}
        assert set(pick(tmp_path, exclude=["sub"]).files) == {"a.json", "b.py", "sub[1]/e.txt"}
        assert set(pick(tmp_path, exclude=["sub/", "*.py", "sub[1]/e.txt"]).files) == {"a.json"}
        assert set(pick(tmp_path, include=["sub/*"], exclude=["c.json"]).files) == {"sub/d.txt"}
        with pytest.raises(Refused, match=r"holds no file to push that matches \*\.jsn"):
            pick(tmp_path, include=["*.jsn"])

    def test_leftovers_are_named_once_and_not_looked_into(self, tmp_path):
        write(tmp_path, {"a.json": b"", **{f"wandb/run/{n}/x": b"" for n in range(30)}, "sub/runs/e": b""})
        assert pick(tmp_path).left_out == ("wandb/", "sub/runs/")
        assert len(pick(tmp_path, everything=True).files) == 32
        assert pick(tmp_path, exclude=["wandb"]).left_out == ("sub/runs/",)

    def test_a_file_that_is_named_alone_is_pushed_whatever_it_is(self, tmp_path):
        write(tmp_path, {"train.log": b"x"})
        assert pick(tmp_path / "train.log").files

    def test_a_folder_is_no_file(self, tmp_path):
        write(tmp_path, {"latest/a.json": b"", "x.log/b.json": b"", "latest/latest": b""})
        assert set(pick(tmp_path).files) == {"latest/a.json", "x.log/b.json"}

    def test_nothing_but_leftovers_is_said_so(self, tmp_path):
        write(tmp_path, {"optimizer.pt": b"x"})
        with pytest.raises(Refused, match=r"Left out were optimizer\.pt; --all"):
            pick(tmp_path)

    def test_links_are_followed_as_in_the_cache_of_hugging_face(self, tmp_path):
        write(tmp_path, {"blobs/1": b"{}", "other/t.json": b"{}", "snapshot/README.md": b"#"})
        (tmp_path / "snapshot/adapter_config.json").symlink_to("../blobs/1")
        (tmp_path / "snapshot/tokenizer").symlink_to("../other")
        (tmp_path / "snapshot/up").symlink_to("..")
        assert set(pick(tmp_path / "snapshot").files) == {"README.md", "adapter_config.json", "tokenizer/t.json"}

    def test_what_cannot_be_read_is_named_all_at_once(self, tmp_path):
        write(tmp_path, {"a.json": b"{}"})
        (tmp_path / "gone.json").symlink_to("nowhere")
        for form in ("NFC", "NFD"):
            write(tmp_path, {unicodedata.normalize(form, "résumé.md"): b"x"})
        if os.geteuid():
            (tmp_path / "shut.json").touch(mode=0)
        with pytest.raises(Refused) as caught:
            pick(tmp_path)
        said = {row["path"]: row["message"] for row in caught.value.facts["problems"]}
        assert "a link to a file that is not there" in said["gone.json"]
        assert "two spellings" in said["résumé.md"]
        assert os.geteuid() == 0 or "can't be read" in said["shut.json"]

    @pytest.mark.parametrize(
        "name", [*sorted(TWO), "generator.safetensors", "train.jsonl", "config.json", "tokenizer.json"]
    )
    def test_no_content_is_ever_a_leftover(self, name):
        assert left_out(name) is None


RENAMED = [
    ("c01_torch_compile_prefix", "llama", 8),
    ("c02_ddp_module_prefix", "llama", 8),
    ("c03_adapter_name_in_middle", "llama", 8),
    ("c23_lora_name_prefix_missing", "llama", 8),
    ("c06c_gemma3_text_only", "gemma3", None),
    ("v_llava_plain", "llava", None),
    ("v_qwen2vl_old", "qwen2vl", None),
]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("case", "config", "renamed"), RENAMED, ids=[row[0] for row in RENAMED])
def test_the_advice_to_rename_is_followed_to_a_live_adapter(hubctl, signed_in, bases, tmp_path, case, config, renamed):
    folder, base = CASES / case, f"pico/{config}"
    bases(config)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    refused = hubctl("push", folder, "ada/x", "--base", base, "--private", "-m", "mended")
    assert refused.code == 1 and "adapter.names" in refused.err, refused.err
    assert not Repository.objects.exists()
    command = shlex.split(refused.err[refused.err.index("hubctl push") :].splitlines()[0])
    done = hubctl(*command[1:], "--json")
    assert done.code == 0, done.err
    told = done.json["renamed"]
    assert done.json["version"] == "v1"
    assert told["renamed"] == told["tensors"] == (renamed or told["tensors"])
    assert len(told["examples"]) == 3 and all(old in done.err and new in done.err for old, new in told["examples"])
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    left = Upload.objects.filter(committed_at=None).count()
    assert left == 1, "the first push's bytes wait for mended files; those of the second were given up"
    hubctl("pull", "ada/x", "-o", tmp_path / "out")
    live, factors = peft_fills(json.loads((BASES / f"{config}.json").read_text()), tmp_path / "out")
    assert live == factors > 0


def peft_fills(config: dict, folder: Path) -> tuple[int, int]:
    """(how many lora_B of a model of `config` peft fills from the folder, how many the folder has)."""
    import torch
    import transformers
    from peft import PeftModel
    from safetensors.torch import load_file

    made = transformers.AutoConfig.for_model(**config)
    model = getattr(transformers, config["architectures"][0])(made)
    model = PeftModel.from_pretrained(model, folder)
    live = sum(bool(torch.any(p)) for name, p in model.named_parameters() if "lora_B" in name)
    return live, sum("lora_B" in name for name in load_file(folder / "adapter_model.safetensors"))
