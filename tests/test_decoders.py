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


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["a", "x", "kind", "Float", "finished", "loss", "maximize"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["$array", "$bytes", "$dict", "$float", "$scalar"]), inner, max_size=1
        )
    ),
    max_leaves=5,
)


def replaced(draw: st.DrawFn, value: Any) -> Any:
    """Return a value of JSON, one part of which, at a random place, is another value."""
    if not isinstance(value, dict | list) or not value or draw(st.integers(0, 5)) == 0:
        return draw(json_values)
    if isinstance(value, dict):
        name = draw(st.sampled_from(sorted(value)))
        return value | {name: replaced(draw, value[name])}
    i = draw(st.integers(0, len(value) - 1))
    return [*value[:i], replaced(draw, value[i]), *value[i + 1 :]]


@st.composite
def altered_json(draw: st.DrawFn, target: Target) -> bytes:
    """An example of JSON in which some parts are other values."""
    whole = [example for example in target.examples if example[-1:] in (b"}", b"]")]
    value = json.loads(draw(st.sampled_from(whole)))
    for _ in range(draw(st.integers(1, 3))):
        value = replaced(draw, value)
    return json.dumps(value).encode()


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
