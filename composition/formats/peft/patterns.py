"""The regular expressions of an adapter's config, run exactly as peft runs them, and only where that is cheap.

Anyone who loads an adapter runs its patterns, so one that `regex_cost` calls ambiguous or slow is refused. Names and
wildcard dots, which is what peft writes, are looked up and never run.
Sources: `get_pattern_key`, `match_target_against_key`, `check_target_module_exists` of peft 0.21.
"""

import re
import time
from collections.abc import Iterable, Sequence
from functools import lru_cache

from composition.errors import CompositionError
from composition.formats.regex_cost import Ambiguous, worst_steps
from composition.formats.strict_json import shorten

MAX_PATTERN = 1024
TYPICAL_NAME = 80
MAX_STEPS = 100_000_000
MAX_SECONDS = 10.0

# Letters and wildcard dots only: nearly every key that is written; such a key needs no engine.
_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")

# How peft completes an entry of each field before it runs it.
KEY_WRAP = r"(.*\.)?({})$"
SAVED_WRAP = r"(^|.*\.){}($|\..*)"
LAYER_WRAP = r"(?:^|.*?\.){}\.(?P<idx>\d+)\."


@lru_cache(maxsize=4096)
def _whole(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def fullmatch(pattern: str, module: str) -> bool:
    """A string in `target_modules` or `exclude_modules`: the whole name must match."""
    return _whole(pattern).fullmatch(module) is not None


@lru_cache(maxsize=4096)
def saved_module_regex(key: str) -> re.Pattern[str]:
    """`modules_to_save` as peft keeps targets away from them: the key, and everything below it."""
    return re.compile(SAVED_WRAP.replace("{}", key))


@lru_cache(maxsize=4096)
def layer_regex(pattern: str) -> re.Pattern[str]:
    """`layers_pattern`: the name of the module list, followed by the layer's index `idx`."""
    return re.compile(LAYER_WRAP.replace("{}", pattern))


ANY_LAYER = re.compile(r".*?\.[^.]*\.(?P<idx>\d+)\.")


class KeyTable:
    """peft's `get_pattern_key` for many keys: the first key, in the file's order, that matches a module's name.

    Keys made of letters and wildcard dots, which is what peft writes, are found by lookup; only the rest is run.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = tuple(keys)
        self._plain: dict[tuple[int, tuple[int, ...]], dict[str, int]] = {}
        self._other: list[tuple[int, re.Pattern[str]]] = []
        for order, key in enumerate(self._keys):
            if _PLAIN.fullmatch(key):
                wild = tuple(index for index, character in enumerate(key) if character == ".")
                self._plain.setdefault((len(key), wild), {}).setdefault(key, order)
            else:
                self._other.append((order, re.compile(KEY_WRAP.replace("{}", key))))

    @property
    def expressions(self) -> list[str]:
        """The expressions that are run, not looked up."""
        return [expression.pattern for _, expression in self._other]

    def find(self, module: str) -> str:
        """The matching key, or the module's own name where none matches (as peft does)."""
        best = len(self._keys)
        for (length, wild), texts in self._plain.items():
            if len(module) == length or (len(module) > length and module[-length - 1] == "."):
                tail = list(module[-length:])
                for index in wild:
                    tail[index] = "."
                best = min(best, texts.get("".join(tail), best))
        for order, expression in self._other:
            if order >= best:
                break
            if expression.match(module):
                best = order
        return self._keys[best] if best < len(self._keys) else module


def check_total(expressions: Iterable[str], *, field: str) -> None:
    """Refuse a list of expressions that together take too long on one name. Raises `config.regex`."""
    total = 0.0
    for expression in expressions:
        if _PLAIN.fullmatch(expression):
            continue
        total += worst_steps(expression, TYPICAL_NAME)
        if total > MAX_STEPS:
            raise _refusal(field, expression, "and the entries before it take too many steps together")


def check_pattern(pattern: str, *, field: str, wrap: str = "{}") -> None:
    """Refuse a pattern that is too long, doesn't compile inside peft's `wrap`, or may run for ever.

    Raises CompositionError `config.regex`.
    """
    if len(pattern) > MAX_PATTERN:
        raise _refusal(field, pattern, f"has {len(pattern)} characters; at most {MAX_PATTERN} are allowed")
    if _PLAIN.fullmatch(pattern):
        return
    if not pattern.isascii() or not pattern.isprintable():
        raise _refusal(field, pattern, "holds characters that are not printable ASCII")
    wrapped = wrap.replace("{}", pattern)
    try:
        re.compile(pattern)  # `a)|(b` compiles only inside a wrap, and then means something else
        re.compile(wrapped)
        steps = worst_steps(wrapped, TYPICAL_NAME)
    except Ambiguous as reason:
        raise _refusal(field, pattern, f"{reason}, so that matching may take exponential time") from None
    except (re.error, RecursionError, OverflowError) as error:
        raise _refusal(field, pattern, f"is not a valid regular expression ({error})") from None
    if steps > MAX_STEPS:
        raise _refusal(field, pattern, "holds too many open repeats (such as .*) for a quick match")


def _refusal(field: str, pattern: str, problem: str) -> CompositionError:
    return CompositionError(
        "config.regex",
        f"adapter_config.json: {field} {shorten(pattern)} {problem}. "
        "Name the modules in a list, or write a plainer expression.",
        field=field,
        pattern=pattern[:MAX_PATTERN],
    )


def check_names(expressions: Iterable[tuple[str, str]], longest: int) -> None:
    """Refuse (field, expression) pairs too costly on a name of `longest` characters. Raises `config.regex`."""
    for field, expression in expressions:
        if longest > TYPICAL_NAME and worst_steps(expression, longest) > MAX_STEPS:
            raise _refusal(field, expression, f"is too costly on a module name of {longest} characters")


class Budget:
    """Seconds that matching all names of one upload may take; `spend` goes before each name."""

    def __init__(self, seconds: float = MAX_SECONDS) -> None:
        self.seconds = seconds
        self.started = time.monotonic()

    def spend(self) -> None:
        """Raises CompositionError `config.regex` where the time is up."""
        if time.monotonic() - self.started > self.seconds:
            raise CompositionError(
                "config.regex",
                f"Matching the module names against adapter_config.json took over {self.seconds:g} seconds. "
                "Name the modules in lists instead of regular expressions.",
            )
