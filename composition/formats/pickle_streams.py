"""Whether bytes are a pickle, of any protocol: walked opcode by opcode, as the unpickler would, and never run.

Protocols 2 to 5 announce themselves. 0 and 1 are plain opcodes, most of them letters, so that a text may begin like
one; the stack tells them apart. An unpickler runs what it has read so far: bytes that call something are a pickle
whatever follows. The opcodes are the standard library's (pickletools).
"""

import pickletools
from collections.abc import Iterator

ANNOUNCED = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
GLOBALS = frozenset({"GLOBAL", "STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"})
CALLS = frozenset({"REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD"})
"""What calls something, once a global has been named."""
STEPS = 32
"""So many opcodes that fit each other are no chance."""
MOST_STEPS = 20_000


def reads_as_pickle(first: bytes, *, size: int | None = None, likely: bool = False) -> bool:
    """Whether a file that begins with `first` and has `size` bytes is one that an unpickler would run or load.

    `likely` is for names that are pickles' own: there a value without any call counts too.
    """
    if first.startswith(ANNOUNCED):
        return True
    whole = size is not None and size <= len(first)
    steps, named = 0, False
    for name in _steps(first):
        named = named or name in GLOBALS
        if name in CALLS and named:
            return True
        if name == "STOP":
            return likely
        if name == "CUT":
            return not whole and likely and steps > 0
        steps += 1
        if steps >= MOST_STEPS:
            break
    return not whole and steps >= STEPS


def _steps(data: bytes) -> Iterator[str]:
    """The opcodes' names as long as each finds on the stack what it takes; CUT where one goes on beyond the bytes."""
    stack: list[object] = []
    mark = pickletools.markobject
    try:
        for opcode, _, _ in pickletools.genops(data):
            taken = list(opcode.stack_before)
            if mark in taken:
                if mark not in stack:
                    return
                while stack.pop() is not mark:
                    pass
                taken = taken[: taken.index(mark)]
            if len(taken) > len(stack) or (taken and mark in stack[-len(taken) :] and opcode.name != "POP"):
                return
            del stack[len(stack) - len(taken) :]
            stack.extend(opcode.stack_after)
            yield opcode.name
    except ValueError as error:
        if "not enough data" in str(error) or "no newline found" in str(error):
            yield "CUT"
    except (UnicodeDecodeError, OverflowError):
        return
