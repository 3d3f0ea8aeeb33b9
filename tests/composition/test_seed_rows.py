"""Seed examples: what is read, and each thing that is refused with its line."""

import pytest

from composition.errors import CompositionError
from composition.formats.dataset.seed_rows import MOST_BYTES, read_seeds, seed_facts


def test_rows_with_and_without_a_completion():
    rows = read_seeds(b'{"prompt": "a", "completion": "b"}\n\n{"prompt": "c"}\r\n')
    assert rows == [{"prompt": "a", "completion": "b"}, {"prompt": "c"}]
    assert seed_facts(rows) == {"rows": 2, "with_completion": 1}


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (b"", "seeds.no_rows", "about five"),
        (b"\n \n", "seeds.no_rows", "holds no row"),
        (b'{"prompt": "a"}\n[1]', "seeds.row", "line 2 holds [1]"),
        (b'{"completion": "a"}', "seeds.row", "the prompt None"),
        (b'{"prompt": " "}', "seeds.row", "expected text that is not empty"),
        (b'{"prompt": 5}', "seeds.row", "the prompt 5"),
        (b'{"prompt": "a", "completion": ""}', "seeds.row", "leave it out"),
        (b'{"prompt": "a", "completions": "b"}', "seeds.row", "the key 'completions'"),
        (b'{"prompt": "a", "prompt": "b"}', "seeds.duplicate_key", "twice"),
        (b'{"prompt": NaN}', "seeds.not_finite", "NaN"),
        (b"prompt,completion", "seeds.json", "line 1"),
        (b'\xff{"prompt": "a"}', "seeds.json", "line 1"),
        (b'{"prompt": "a"}\n' * 10_001, "seeds.too_many", "10,001"),
        (b" " * (MOST_BYTES + 1), "seeds.too_many", "bytes"),
    ],
)
def test_what_is_no_seed_is_refused(data, code, says):
    with pytest.raises(CompositionError) as refusal:
        read_seeds(data)
    assert refusal.value.code == code
    assert says in refusal.value.message
