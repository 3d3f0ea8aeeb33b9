"""Whether bytes are a pickle, of any protocol: walked opcode by opcode, as the unpickler would, and never run.

Protocols 2 to 5 announce themselves. 0 and 1 are plain opcodes, most of them letters, so that a text may begin like
one; the stack tells them apart. An unpickler runs what it has read so far: bytes that call something are a pickle
whatever follows. The opcodes are the standard library's (pickletools); what the unpickler that is written in C takes
beyond it (numbers in hexadecimal or cut by a NUL, strings that are no ASCII) is taken here too (Modules/_pickle.c).
"""

import io
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
        for opcode in _opcodes(data):
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


_OPCODES = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
_NUMBERS = frozenset({"INT", "LONG", "FLOAT", "GET", "PUT"})


def _opcodes(data: bytes) -> Iterator[pickletools.OpcodeInfo]:
    """The opcodes up to STOP. ValueError where the bytes end, or hold what no unpickler takes."""
    stream = io.BytesIO(data)
    while code := stream.read(1):
        opcode = _OPCODES.get(code)
        if opcode is None:
            raise ValueError("no opcode")
        if opcode.name in _NUMBERS or opcode.name == "STRING":
            _check_line(opcode.name, stream.readline())
        elif opcode.arg is not None:
            opcode.arg.reader(stream)
        yield opcode
        if opcode.name == "STOP":
            return


def _check_line(name: str, line: bytes) -> None:
    if not line.endswith(b"\n"):
        raise ValueError("no newline found")
    said = line.rstrip()
    if name == "STRING":
        if len(said) < 2 or said[:1] != said[-1:] or said[:1] not in (b"'", b'"'):
            raise ValueError("no quotes")
        return
    said = said.partition(b"\0")[0].strip()
    if name == "FLOAT":
        float(said)
        return
    said = said.removesuffix(b"L") if name == "LONG" else said
    try:
        int(said)
    except ValueError:
        int(said, 0)
