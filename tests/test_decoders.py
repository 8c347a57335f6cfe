"""What comes from outside is decoded, or refused with the documented error.

`experiments/fuzz_decoders.py` gives the same decoders many more inputs.
"""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rush_core import CorruptRecordError
from tests.fuzzing.target import Target
from tests.fuzzing.targets import TARGETS

all_targets = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
json_targets = [target for target in TARGETS.values() if target.examples[0][:1] in b"{["]


@st.composite
def altered(draw: st.DrawFn, target: Target) -> bytes:
    """An example of which some parts are removed, repeated, or replaced."""
    content = draw(st.sampled_from(target.examples))
    parts = st.sampled_from(target.words or (b"",)) | st.binary(max_size=9)
    for _ in range(draw(st.integers(1, 3))):
        begin, end = sorted(draw(st.integers(0, len(content))) for _ in range(2))
        end = min(end, begin + 16)
        other = draw(parts | st.just(content[begin:end] * 2))
        content = content[:begin] + other + content[end:]
    return content


@all_targets
def test_examples_are_decoded_or_refused(target: Target) -> None:
    accepted = [target.run(example) for example in target.examples]
    # A worker loop of this digest does not exist; the others end by an exception of their own.
    none_is = {"worker loop", "command line", "message of an evaluation process"}
    assert any(accepted) is (target.name not in none_is)


@all_targets
@settings(max_examples=150)
@given(data=st.data())
def test_altered_examples_are_decoded_or_refused(target: Target, data: st.DataObject) -> None:
    target.run(data.draw(altered(target)))


@all_targets
@settings(max_examples=50)
@given(content=st.binary(max_size=64))
def test_any_bytes_are_decoded_or_refused(target: Target, content: bytes) -> None:
    target.run(content)


json_plain = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["a", "x", "kind", "Float", "finished", "loss", "maximize"])
)
json_lists = st.lists(json_plain | st.lists(json_plain, max_size=2), max_size=3)
json_names = st.text(max_size=3)
json_marks = st.sampled_from(["$array", "$bytes", "$dict", "$float", "$scalar"])
json_values = (
    json_plain
    | json_lists
    | st.dictionaries(json_names, json_plain | json_lists, max_size=3)
    | st.dictionaries(json_marks, json_plain | json_lists, max_size=1)
)


def paths_in(value: Any) -> list[tuple[Any, ...]]:
    """Return the way to each part of a value of JSON, from the whole to its parts."""
    parts: Any = ()
    if isinstance(value, dict | list):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
    return [(), *((name, *path) for name, part in parts for path in paths_in(part))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Return a value of JSON of which the part at the end of a path is another one."""
    if not path:
        return new
    copied = value.copy()
    copied[path[0]] = replaced(value[path[0]], path[1:], new)
    return copied


def altered_json(target: Target) -> st.SearchStrategy[bytes]:
    """Examples of JSON in which some parts are other values."""
    whole = [json.loads(text) for text in target.examples if text[-1:] in (b"}", b"]")]

    def alter(value: Any, changes: list[tuple[int, Any]]) -> bytes:
        for number, new in changes:
            paths = paths_in(value)
            value = replaced(value, paths[number % len(paths)], new)
        return json.dumps(value).encode()

    changes = st.lists(st.tuples(st.integers(0, 1000), json_values), min_size=1, max_size=3)
    return st.builds(alter, st.sampled_from(whole), changes)


@pytest.mark.parametrize("target", json_targets, ids=[target.name for target in json_targets])
@settings(max_examples=250)
@given(data=st.data())
def test_other_values_in_json_are_taken_or_refused(target: Target, data: st.DataObject) -> None:
    target.run(data.draw(altered_json(target)))


def test_a_target_fails_for_another_error() -> None:
    def decode(content: bytes) -> None:
        raise CorruptRecordError("of the server") if content else KeyError("of the decoder")

    target = Target("broken", decode, (CorruptRecordError,), ())
    assert target.run(b"x") is False
    with pytest.raises(KeyError):
        target.run(b"")
