"""What can be stored comes back as it was; what cannot is refused by its name."""

import dataclasses
import datetime
import enum
import threading
from collections import OrderedDict, UserDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np

from rush_core import Network, Worker
from rush_core.kernel.codec import decode, encode
from tests.typed import unchecked

surrogate_free = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | surrogate_free
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(surrogate_free, inner),
    max_leaves=20,
)

plain_dtypes = st.one_of(
    st_np.boolean_dtypes(),
    st_np.integer_dtypes(endianness="?"),
    st_np.unsigned_integer_dtypes(endianness="?"),
    st_np.floating_dtypes(endianness="?"),
    st_np.complex_number_dtypes(endianness="?"),
    st_np.datetime64_dtypes(endianness="?"),
    st_np.timedelta64_dtypes(endianness="?"),
    st_np.byte_string_dtypes(min_len=1, max_len=5),
    st_np.unicode_string_dtypes(min_len=1, max_len=5),
)
structured_dtypes = st_np.array_dtypes(plain_dtypes, max_size=3, allow_subarrays=True)
nested_dtypes = st_np.nested_dtypes(plain_dtypes, max_leaves=4, max_itemsize=200)


def same(a: Any, b: Any) -> bool:
    """Equal in type and value, NaN included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[name], b[name]) for name in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return a == b or (a != a and b != b)
    return bool(a == b)


@given(values)
def test_nested_values_come_back_with_their_types(value: Any) -> None:
    assert same(decode(encode(value)), value)


@given(st.data(), plain_dtypes | structured_dtypes | nested_dtypes)
def test_arrays_of_any_dtype_come_back_bit_by_bit(data: st.DataObject, dtype: np.dtype) -> None:
    shape = data.draw(st_np.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    content = data.draw(st.binary(min_size=dtype.itemsize, max_size=dtype.itemsize))
    array = np.zeros(shape, dtype)
    if not ({"U"} & kinds(dtype)):  # any bytes are a value, but not of text
        array[...] = np.frombuffer(content, dtype)[0] if dtype.itemsize else array
    back = decode(encode({"array": array}))["array"]
    assert isinstance(back, np.ndarray)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.tobytes() == array.tobytes()
    assert not back.flags.writeable or back.size == 0


def kinds(dtype: np.dtype) -> set[str]:
    if dtype.subdtype is not None:
        return kinds(dtype.subdtype[0])
    if dtype.names is not None:
        return set().union(*(kinds(dtype[name]) for name in dtype.names))
    return {dtype.kind}


@pytest.mark.parametrize(
    "array",
    [
        np.array(7.5),
        np.array([]),
        np.zeros((0, 3), np.int32),
        np.zeros((2, 0), "U3"),
        np.arange(12).reshape(3, 4)[:, ::2],
        np.arange(12).reshape(3, 4).T,
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.array(["a", "schlüssel", ""]),
        np.array([b"a", b"bc"]),
        np.array(["2026-01-02", "NaT"], "datetime64[D]"),
        np.array([1, 2], "timedelta64[25us]"),
        np.array([np.nan, np.inf, -0.0], np.float16),
        np.array([1 + 2j]),
        np.array([True, False]),
        np.array([1], ">i4"),
        np.array([(1, 2.5, "a")], [("i", "i4"), ("f", "f8"), ("s", "U2")]),
        np.array([(1, [[1, 2], [3, 4]])], [("i", "i4"), ("m", "f4", (2, 2))]),
        np.array([((1, 2), 3)], [("in", [("a", "i1"), ("b", "i2")]), ("c", "i4")]),
        np.zeros(2, np.dtype({"names": ["a"], "formats": ["i2"], "offsets": [4], "itemsize": 8})),
        np.zeros(2, np.longdouble),
    ],
    ids=str,
)
def test_unusual_arrays_come_back(array: np.ndarray) -> None:
    back = decode(encode(array))
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize(
    ("scalar", "expected"),
    [
        (np.float64(0.5), 0.5),
        (np.float32(0.5), 0.5),
        (np.float16(0.5), 0.5),
        (np.int8(-3), -3),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.bytes_(b"a"), b"a"),
    ],
)
def test_numpy_scalars_come_back_as_python_numbers(scalar: Any, expected: Any) -> None:
    back = decode(encode({"x": scalar}))["x"]
    assert type(back) is type(expected)
    assert back == expected


@pytest.mark.parametrize(
    "scalar",
    [
        np.complex128(1 + 2j),
        np.longdouble(1) / 3,
        np.datetime64("2026-01-02T03:04:05"),
        np.timedelta64(5, "s"),
        np.array([(1, 2.5)], [("i", "i4"), ("f", "f8")])[0],
    ],
    ids=repr,
)
def test_numpy_scalars_without_a_python_number_come_back_as_they_were(scalar: Any) -> None:
    back = decode(encode({"x": scalar}))["x"]
    assert type(back) is type(scalar)
    assert back == scalar


@dataclasses.dataclass
class Point:
    x: int


class Kernel(enum.Enum):
    RBF = "rbf"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, (2, 3)), [1, [2, 3]]),
        ({1}, [1]),
        (bytearray(b"a"), b"a"),
        (Kernel.RBF, "rbf"),
        (Point(3), {"x": 3}),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        ({"inner": {1: "a"}}, {"inner": {1: "a"}}),
    ],
    ids=repr,
)
def test_related_types_come_back_as_documented(value: Any, expected: Any) -> None:
    assert decode(encode(value)) == expected


def test_signed_zero_and_nan_keep_their_bits() -> None:
    nan, zero = decode(encode([float("nan"), -0.0]))
    assert np.isnan(nan)
    assert np.signbit(zero)


BAD_VALUES = {
    "an object": object(),
    "a lock": threading.Lock(),
    "a function": len,
    "an array of objects": np.array([object()]),
    "a structured array with objects": np.zeros(1, [("o", object)]),
    "a masked array": np.ma.array([1.0, 2.0], mask=[False, True]),
    "a masked number": np.ma.masked,
    "a masked row": np.ma.array([(1, 2)], mask=unchecked([(0, 1)]), dtype=[("a", int), ("b", int)])[
        0
    ],
    "an array of empty items": np.zeros(3, []),
    "an integer of 65 bits": 2**64,
    "a negative integer of 65 bits": -(2**63) - 1,
    "a lone surrogate": "a\ud800b",
    "a nested object": [{"deep": (1, object())}],
    "a complex number": 1 + 2j,
}


@pytest.mark.parametrize("value", BAD_VALUES.values(), ids=BAD_VALUES)
def test_what_cannot_be_stored_is_refused_by_its_name(
    network: Network, worker: Worker, value: Any
) -> None:
    keys = worker.start_tasks([{"x": 1}, {"x": 2}])
    before = network.fetch_tasks()
    bad, good = {"fine": 1, "culprit": value}, {"fine": 1}
    config, result, extra = (
        "configuration parameter 'culprit'",
        "result 'culprit'",
        "extra 'culprit'",
    )
    calls: list[tuple[str, Callable[[], object]]] = [
        (config, lambda: worker.start_task(bad)),
        (config, lambda: worker.start_tasks([good, bad])),
        (extra, lambda: worker.start_task(good, extra=bad)),
        (result, lambda: worker.finish_task(keys[0], bad)),
        (result, lambda: worker.finish_tasks(keys, [good, bad])),
        (result, lambda: worker.finish_and_fetch_new(keys[0], bad)),
        (extra, lambda: worker.finish_task(keys[0], good, extra=bad)),
        (extra, lambda: worker.fail_task(keys[0], "no", extra=bad)),
        (config, lambda: network.push_tasks([good, bad])),
        (extra, lambda: network.push_tasks([good], extras=[bad])),
        (config, lambda: network.push_finished_tasks([bad], [good])),
        (result, lambda: network.push_finished_tasks([good, good], [good, bad])),
        (config, lambda: network.push_failed_tasks([bad], ["no"])),
    ]
    for named, call in calls:
        with pytest.raises((TypeError, ValueError), match=named):
            call()
    assert network.fetch_tasks() == before
    assert worker.finish_tasks(keys, [good, good]) == [True, True]


arrays = st_np.arrays(plain_dtypes, st_np.array_shapes(min_dims=0, max_dims=2, max_side=3))
mappings = st.dictionaries(surrogate_free, values | arrays, max_size=4)


@given(mappings, st.none() | mappings, mappings, st.none() | mappings)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_can_be_stored_goes_through_the_server_unchanged(
    network: Network, worker: Worker, config: Any, extra: Any, result: Any, result_extra: Any
) -> None:
    (key,) = network.push_tasks([config], extras=[extra])
    claimed = worker.claim_task()
    assert claimed is not None
    assert claimed.key == key
    won, (new,) = worker.finish_and_fetch_new(key, result, extra=result_extra)
    assert won
    (fetched,) = network.fetch_new_tasks()
    for task in (new, fetched):
        found = (task.config, task.extra, task.result, task.result_extra)
        # Same bytes: NaN, -0.0 and the dtype of arrays included.
        assert list(map(encode, found)) == list(
            map(encode, (config, extra or {}, result, result_extra or {}))
        )
    assert encode(claimed.config) == encode(config)


outside = st.one_of(
    st.integers(2**64, 2**100),
    st.integers(-(2**100), -(2**63) - 1),
    st.characters(categories=["Cs"]).map("x{}".format),
    st.just(object()),
    st.just(1j),
)


@given(
    st.recursive(
        outside, lambda bad: st.tuples(values, bad) | bad.map(lambda v: {"in": v}), max_leaves=3
    ),
    values,
    st.sampled_from(["config", "extra", "result", "result_extra"]),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_cannot_be_stored_is_refused_by_name_however_deep(
    network: Network, worker: Worker, bad: Any, good: Any, where: str
) -> None:
    key = worker.start_task({})
    assert key is not None
    given_values = {"good": good, "bad one": bad}
    before = network.fetch_tasks()
    calls: dict[str, Callable[[], object]] = {
        "config": lambda: network.push_tasks([given_values]),
        "extra": lambda: network.push_tasks([{}], extras=[given_values]),
        "result": lambda: worker.finish_task(key, given_values),
        "result_extra": lambda: worker.fail_task(key, "no", extra=given_values),
    }
    with pytest.raises((TypeError, ValueError), match="'bad one'"):
        calls[where]()
    assert network.fetch_tasks() == before
    network.reset(workers=False)


@pytest.mark.parametrize(
    "mapping",
    [None, 5, "text", [("x", 1)], {1: "a"}, {None: 1}, {("x",): 1}, UserDict(x=1)],
    ids=repr,
)
def test_what_is_no_dict_of_names_is_refused(
    network: Network, worker: Worker, mapping: Any
) -> None:
    key = worker.start_task({"x": 1})
    assert key is not None
    calls: list[tuple[str, Callable[[], object]]] = [
        ("configuration parameter", lambda: worker.start_task(mapping)),
        ("configuration parameter", lambda: network.push_tasks([{"x": 1}, mapping])),
        ("configuration parameter", lambda: network.push_finished_tasks([mapping], [{}])),
        ("configuration parameter", lambda: network.push_failed_tasks([mapping], ["no"])),
        ("result", lambda: worker.finish_task(key, mapping)),
        ("result", lambda: worker.finish_and_fetch_new(key, mapping)),
        ("result", lambda: network.push_finished_tasks([{}], [mapping])),
    ]
    if mapping is not None:  # for an extra, None means that there is none
        calls += [
            ("extra", lambda: worker.start_task({}, extra=mapping)),
            ("extra", lambda: worker.finish_task(key, {}, extra=mapping)),
            ("extra", lambda: worker.fail_task(key, "no", extra=mapping)),
            ("extra", lambda: network.push_tasks([{}], extras=[mapping])),
        ]
    for named, call in calls:
        with pytest.raises(TypeError, match=named):
            call()
    assert network.count_tasks() == (0, 1, 0, 0)


def test_a_value_that_contains_itself_is_refused(network: Network) -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises((TypeError, ValueError), match="configuration parameter 'x'"):
        network.push_tasks([{"x": loop}])
    assert network.count_tasks().queued == 0


def test_a_name_that_is_no_unicode_is_refused(network: Network) -> None:
    with pytest.raises((TypeError, ValueError), match="configuration parameter"):
        network.push_tasks([{"x\ud800": 1}])
    assert network.count_tasks().queued == 0


def test_empty_and_large_configurations_can_be_stored(network: Network, worker: Worker) -> None:
    large = {f"parameter {i}": np.arange(1000.0) for i in range(100)}
    network.push_tasks([{}, large])
    assert [task and task.config.keys() for task in (worker.claim_task(), worker.claim_task())] == [
        {}.keys(),
        large.keys(),
    ]
