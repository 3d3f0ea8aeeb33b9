"""The regular expressions of an adapter's config, run exactly as peft runs them, and only where that is cheap.

Python's `re` backtracks: `(a+)+x` needs 2^n steps on n letters, and whoever loads the adapter pays for it. A pattern
is therefore parsed first and refused where it repeats something ambiguous, or where its worst case on a module name
is too long. Sources: `get_pattern_key`, `match_target_against_key`, `check_target_module_exists` of peft 0.21.
"""

import math
import re
import time
from collections.abc import Iterable, Sequence
from functools import lru_cache
from re import _constants as c  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]

from composition.errors import CompositionError
from composition.formats.strict_json import shorten

MAX_PATTERN = 1024
TYPICAL_NAME = 80
MAX_STEPS = 100_000_000
MAX_SECONDS = 10.0

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
            items = list(_parser.parse(key))
            if all(operator in (c.LITERAL, c.ANY) for operator, _ in items):
                wild = tuple(index for index, (operator, _) in enumerate(items) if operator is c.ANY)
                text = "".join("." if operator is c.ANY else chr(argument) for operator, argument in items)
                self._plain.setdefault((len(text), wild), {}).setdefault(text, order)
            else:
                self._other.append((order, re.compile(KEY_WRAP.replace("{}", key))))

    @property
    def expressions(self) -> list[str]:
        """What is run and not looked up."""
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
        total += worst_steps(expression, TYPICAL_NAME)
        if total > MAX_STEPS:
            raise _refusal(field, expression, "and the entries before it take too many steps together")


def check_pattern(pattern: str, *, field: str, wrap: str = "{}") -> None:
    """Refuse a pattern that is too long, doesn't compile inside peft's `wrap`, or may run for ever.

    Raises CompositionError `config.regex`.
    """
    if len(pattern) > MAX_PATTERN:
        raise _refusal(field, pattern, f"has {len(pattern)} characters; at most {MAX_PATTERN} are allowed")
    if not pattern.isascii() or not pattern.isprintable():
        raise _refusal(field, pattern, "holds characters that are not printable ASCII")
    wrapped = wrap.replace("{}", pattern)
    try:
        re.compile(pattern)  # `a)|(b` compiles only inside a wrap, and then means something else
        re.compile(wrapped)
        tree = _parser.parse(wrapped)
        ways, degree = _cost(tree)
    except _Ambiguous as reason:
        raise _refusal(field, pattern, f"{reason}, so that matching may take exponential time") from None
    except (re.error, RecursionError, OverflowError) as error:
        raise _refusal(field, pattern, f"is not a valid regular expression ({error})") from None
    if _steps(ways, degree, TYPICAL_NAME) > MAX_STEPS:
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


@lru_cache(maxsize=4096)
def worst_steps(pattern: str, length: int) -> float:
    """About how many steps matching a name of `length` characters takes at worst."""
    ways, degree = _cost(_parser.parse(pattern))
    return _steps(ways, degree, length)


def _steps(ways: float, degree: int, length: int) -> float:
    return ways * float(length) ** degree / math.factorial(degree)


class _Ambiguous(Exception):
    pass


def _cost(items: Iterable) -> tuple[float, int]:
    """Ways multiply and degrees add along a sequence; alternatives count only where they may begin alike."""
    ways, degree = 1.0, 0
    for operator, argument in items:
        more, deeper = _item_cost(operator, argument)
        ways, degree = min(ways * more, 1e12), degree + deeper
        if degree > 40:
            raise _Ambiguous("holds over 40 open repeats")
    return ways, degree


def _item_cost(operator: object, argument) -> tuple[float, int]:
    if operator in (c.GROUPREF, c.GROUPREF_EXISTS, c.GROUPREF_IGNORE):
        raise _Ambiguous("refers back to a group")
    if operator is c.SUBPATTERN:
        return _cost(argument[-1])
    if operator in (c.ASSERT, c.ASSERT_NOT):
        return _cost(argument[1])
    if operator is c.ATOMIC_GROUP:
        return _cost(argument)
    if operator is c.BRANCH:
        costs = [_cost(branch) for branch in argument[1]]
        alike = _largest_group(argument[1])
        return alike * max(ways for ways, _ in costs), max(degree for _, degree in costs)
    if operator in (c.MAX_REPEAT, c.MIN_REPEAT, c.POSSESSIVE_REPEAT):
        low, high, body = argument
        if high > 1:
            _check_repeatable(body)
        ways, degree = _cost(body)
        if low == high:
            return ways, degree
        return (2.0 * ways, degree) if high == 1 else (ways, degree + 1)
    return 1.0, 0


def _first_literal(branch: Sequence) -> int | None:
    """The letter a branch must begin with, in lower case; None where that isn't one fixed character."""
    if not len(branch):
        return None
    operator, argument = branch[0]
    if operator is c.LITERAL:
        return ord(chr(argument).lower())
    return _first_literal(argument[-1]) if operator is c.SUBPATTERN else None


def _largest_group(branches: Sequence) -> int:
    """How many alternatives may begin with the same character."""
    firsts = [_first_literal(branch) for branch in branches]
    loose = firsts.count(None)
    return loose + max((firsts.count(first) for first in firsts if first is not None), default=0)


def _check_repeatable(body: Sequence) -> None:
    """Allow to repeat only what reads in one way: an open repeat inside needs a character beside it that it can't eat.

    `(\\w+\\.)*` has one reading; `(.+\\.)*`, `(a+)*` and `(a|ab)*` have exponentially many.
    """
    flat = _flatten(body)
    repeats = [argument for operator, argument in flat if operator in (c.MAX_REPEAT, c.MIN_REPEAT)]
    open_repeats = [argument for argument in repeats if argument[0] != argument[1]]
    for operator, argument in flat:
        if operator is c.BRANCH and (_largest_group(argument[1]) > 1 or any(map(_is_variable, argument[1]))):
            raise _Ambiguous("repeats alternatives that may begin alike")
    if not open_repeats:
        return
    literals = [argument for operator, argument in flat if operator is c.LITERAL]
    eaten = open_repeats[0][2]
    single = len(open_repeats) == 1 and len(eaten) == 1
    if not (single and any(not _may_eat(eaten[0], literal) for literal in literals)):
        raise _Ambiguous("repeats a group that itself holds an open repeat")


def _flatten(body: Iterable) -> list[tuple]:
    """The items of a sequence with its groups opened."""
    items: list[tuple] = []
    for operator, argument in body:
        items.extend(_flatten(argument[-1]) if operator is c.SUBPATTERN else [(operator, argument)])
    return items


def _is_variable(branch: Iterable) -> bool:
    flat = _flatten(branch)
    return any(
        operator is c.BRANCH or (operator in (c.MAX_REPEAT, c.MIN_REPEAT) and argument[0] != argument[1])
        for operator, argument in flat
    )


def _may_eat(item: tuple, character: int) -> bool:
    """Whether one item of a pattern can match this character in either case; True where in doubt."""
    operator, argument = item
    cases = {character, ord(chr(character).lower()), ord(chr(character).upper())}
    if operator is c.LITERAL:
        return argument in cases
    if operator is c.SUBPATTERN and len(argument[-1]) == 1:
        return _may_eat(argument[-1][0], character)
    if operator is not c.IN:
        return True
    negated = argument[0][0] is c.NEGATE
    return any(any(_set_holds(entry, case) for entry in argument[negated:]) != negated for case in cases)


_CATEGORIES = {
    c.CATEGORY_DIGIT: r"\d",
    c.CATEGORY_NOT_DIGIT: r"\D",
    c.CATEGORY_WORD: r"\w",
    c.CATEGORY_NOT_WORD: r"\W",
    c.CATEGORY_SPACE: r"\s",
    c.CATEGORY_NOT_SPACE: r"\S",
}


def _set_holds(entry: tuple, character: int) -> bool:
    operator, argument = entry
    if operator is c.LITERAL:
        return argument == character
    if operator is c.RANGE:
        return argument[0] <= character <= argument[1]
    return operator is c.CATEGORY and re.match(_CATEGORIES[argument], chr(character)) is not None
