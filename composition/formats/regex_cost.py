"""How long a regular expression may take, read off its parse tree.

Python's `re` backtracks: `(a+)+x` needs 2^n steps on n letters. A repeat is fine where each round reads in one way
only; open repeats one after another, `.*.*`, multiply to a power of the length. So a pattern is refused where it
repeats something ambiguous, and otherwise costs about ways · n^degree / degree! steps on n characters.
"""

import math
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from re import _constants as c  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]


@lru_cache(maxsize=4096)
def worst_steps(pattern: str, length: int) -> float:
    """About how many steps matching a name of `length` characters takes at worst. Raises Ambiguous, re.error."""
    ways, degree = _cost(_parser.parse(pattern))
    return _steps(ways, degree, length)


def _steps(ways: float, degree: int, length: int) -> float:
    return ways * float(length) ** degree / math.factorial(degree)


class Ambiguous(Exception):
    """Reading a pattern's match may take exponential time; says why."""


def _cost(items: Iterable) -> tuple[float, int]:
    """Ways multiply and degrees add along a sequence; alternatives count only where they may begin alike."""
    ways, degree = 1.0, 0
    for operator, argument in items:
        more, deeper = _item_cost(operator, argument)
        ways, degree = min(ways * more, 1e12), degree + deeper
        if degree > 40:
            raise Ambiguous("holds over 40 open repeats")
    return ways, degree


def _item_cost(operator: object, argument) -> tuple[float, int]:
    if operator in (c.GROUPREF, c.GROUPREF_EXISTS, c.GROUPREF_IGNORE):
        raise Ambiguous("refers back to a group")
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
            raise Ambiguous("repeats alternatives that may begin alike")
    if not open_repeats:
        return
    literals = [argument for operator, argument in flat if operator is c.LITERAL]
    eaten = open_repeats[0][2]
    single = len(open_repeats) == 1 and len(eaten) == 1
    if not (single and any(not _may_eat(eaten[0], literal) for literal in literals)):
        raise Ambiguous("repeats a group that itself holds an open repeat")


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
