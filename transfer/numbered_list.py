"""The numbered list of Trans-LoRA's synthesis prompt (appendix, Fig. 7), written and read.

    Here are 10 examples:
    1. True and False or ( not True ) is
    …
    5. not not ( False and not False ) is
    6.

What all seeds share as whole lines at their beginning or end (an instruction, an answer's label) is the frame: it
is written once above the list and is put back around every item that is read. A line break inside an item is written as
the two characters \\n.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

NUMBER = re.compile(r"\s*(\d+)\s*[.):]\s*")
BREAK = "\\n"


@dataclass(frozen=True, slots=True)
class Frame:
    """Lines before and after every item, with their line breaks."""

    before: str
    after: str

    def whole(self, item: str) -> str:
        """The input that an item of the list stands for."""
        return self.before + item + self.after

    def item(self, text: str) -> str:
        """The part of an input that is written in the list."""
        return text[len(self.before) : len(text) - len(self.after)]


def frame_of(seeds: Sequence[str]) -> Frame:
    """The whole lines that all seeds open with, and those all end with; nothing where a seed would be left empty."""
    if len(seeds) < 2:
        return Frame("", "")
    split = [seed.split("\n") for seed in seeds]
    shortest = min(len(lines) for lines in split)
    before = 0
    while before < shortest - 1 and len({lines[before] for lines in split}) == 1:
        before += 1
    after = 0
    while after < shortest - 1 - before and len({lines[-1 - after] for lines in split}) == 1:
        after += 1
    lines = split[0]
    frame = Frame(
        "".join(line + "\n" for line in lines[:before]), "".join("\n" + line for line in lines[len(lines) - after :])
    )
    return frame if all(frame.item(seed).strip() for seed in seeds) else Frame("", "")


def list_prompt(items: Sequence[str], frame: Frame) -> str:
    """The prompt; a generator continues after the number that follows the last item."""
    lines = [f"{number}. {written(item)}" for number, item in enumerate(items, 1)]
    opening = f"{frame.before.strip()}\n" if frame.before.strip() else ""
    return f"{opening}Here are {2 * len(items)} examples:\n" + "\n".join([*lines, f"{len(items) + 1}."])


def written(item: str) -> str:
    """An item on one line."""
    return item.strip().replace("\n", BREAK)


def read_items(text: str, first: int, most: int) -> list[str | None]:
    """Items `first`, `first` + 1, … of a continuation that stands behind "`first`.", at most `most` of them.

    An item ends at a line break; None stands for one that can't be read: empty, cut off before its line break, or
    under a wrong number, after which nothing more is read.
    """
    items: list[str | None] = []
    lines = text.split("\n")
    for number, line in enumerate(lines[:most]):
        if number:
            found = NUMBER.match(line)
            if not found or int(found[1]) != first + number:
                if line.strip() or number < len(lines) - 1:
                    items.append(None)
                break
            line = line[found.end() :]
        cut = number == len(lines) - 1
        item = line.strip()
        items.append(None if cut or not item else item.replace(BREAK, "\n"))
        if items[-1] is None:
            break
    return items
