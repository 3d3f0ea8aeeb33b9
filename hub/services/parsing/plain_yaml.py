"""YAML of strangers: plain values, each written where it stands.

A loader that makes plain values only and refuses aliases, as a page of them expands to gigabytes. `mapping_of` also
refuses what is long, deep, or has one key twice.
"""

import yaml

from hub.errors import Invalid

LONGEST = 64_000
DEEPEST = 12


class PlainLoader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not allowed", event.start_mark)
        return super().compose_node(parent, index)


class _OnceLoader(PlainLoader):
    """The same, where a key that is given twice is refused rather than the first one dropped."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice[0]!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep=deep)


def mapping_of(text: str, *, what: str, code: str) -> dict:
    """The mapping that the text is. Raises Invalid with `code`, whose sentence begins with `what`."""
    problem = "is not a mapping of keys to values"
    if len(text) > LONGEST:
        problem = f"is over {LONGEST:,} characters"
    else:
        try:
            _refuse_depth(text)
            found = yaml.load(text, Loader=_OnceLoader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f" in line {mark.line + 1}" if mark else ""
            problem = f"can't be read{line}: {getattr(error, 'problem', None) or 'not YAML'}"
        except (RecursionError, ValueError, OverflowError, TypeError):
            problem = "can't be read: it holds an impossible number, date or key"
        else:
            if isinstance(found, dict):
                return found
    raise Invalid(f"{what} {problem}. Write it as plain YAML.", code=code)


def _refuse_depth(text: str) -> None:
    """Walk the events, which are made one by one, so that a deep text costs no more than its first brackets."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise yaml.composer.ComposerError(None, None, f"nested over {DEEPEST} deep", event.start_mark)
