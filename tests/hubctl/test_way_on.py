"""The commands in a refusal of a push are made for this folder and name, whatever they are called."""

import shlex

import pytest

from hubctl.errors import Refused
from hubctl.folders.way_on import with_way_on

PLACES = ["adapter", "/tmp/my adapter", "it's here/x", "-odd", "NAME"]


@pytest.mark.parametrize("folder", PLACES)
@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Do this: hubctl push FOLDER NAME --rename", ["{f}", "ada/x", "--base", "b c", "--rename"]),
        (
            "Leave it out (hubctl push FOLDER NAME --exclude 'a b.bin'",
            ["{f}", "ada/x", "--base", "b c", "--exclude", "a b.bin"],
        ),
        ("hubctl push FOLDER/sub NAME", ["{f}/sub", "ada/x"]),
        ("hubctl push 'FOLDER/my sub' NAME", ["{f}/my sub", "ada/x"]),
        ("hubctl push FOLDER/sub/deep NAME-sub-deep; hubctl push FOLDER/b NAME-b", ["{f}/sub/deep", "ada/x-sub-deep"]),
        ("hubctl push FOLDER/sub 'NAME-my sub'", ["{f}/sub", "ada/x-my sub"]),
    ],
)
def test_the_command_is_for_this_folder(folder, said, words):
    error = Refused(said, code="x.y", problems=[{"message": said}])
    mended = with_way_on(error, folder, "ada/x", ["--base", "b c"])
    folder = folder if folder != "-odd" else "./-odd"
    for text in (mended.message, mended.facts["problems"][0]["message"]):
        command = text[text.index("hubctl push") :].partition(";")[0]
        assert shlex.split(command)[2:] == [word.replace("{f}", folder) for word in words]


def test_a_sentence_without_a_command_stays():
    said = "A FOLDER and a NAME, as they are."
    assert with_way_on(Refused(said, code="x"), "a", "b/c", []).message == said


@pytest.mark.parametrize(
    ("facts", "stay"),
    [
        ({"file": "run.sh"}, ["run.sh"]),
        ({"files": ["README.md", "readme.md"]}, ["readme.md"]),
        ({"problems": [{"path": "a.sh"}, {"path": "it's.toml"}]}, ["a.sh", "it's.toml"]),
        ({"problems": [{"path": "a.sh"}, {"path": "adapter_model.bin"}]}, []),
        ({"file": "value_head.bin", "command": "python -c …"}, []),
        ({}, []),
    ],
)
def test_the_rest_can_be_pushed_where_all_offenders_can_stay(facts, stay):
    mended = with_way_on(Refused("No.", code="content.code", **facts), "f", "ada/x", ["--private"])
    wanted = ["hubctl", "push", "f", "ada/x", "--private", *(word for path in stay for word in ("--exclude", path))]
    assert (shlex.split(mended.facts["push"]) if "push" in mended.facts else []) == (wanted if stay else [])
