"""Filters on metadata: `{"year": {"gte": 2020}, "lang": "en"}` as a mask of a segment's items.

Knows values and comparisons.  Knows nothing of vectors.  A filter is data, never text that is executed.

A mapping asks for all of its entries at once.  `field: value` is equality, `field: null` asks that the field is
missing or null, `field: {operator: value, ...}` compares; "and", "or" take lists of filters, "not" takes one.
Numbers compare with numbers and strings with strings; other pairs never match an order.  True is not 1.
A missing field is null: it equals only null, and so passes "ne" and "nin" of any other value.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeAlias

import numpy as np

from flmr.errors import InvalidInput

Column: TypeAlias = "Callable[[str], Sequence[Any] | None]"  # the values of a field, one an item, or None: all null
Test: TypeAlias = "Callable[[Any], bool]"

_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_SYMBOLS = {"=": "eq", "==": "eq", "!=": "ne", ">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}
_OPERATORS = ("eq", "ne", *_ORDERS, "in", "nin", "exists")
_LOGIC = ("and", "or", "not")


class Filter:
    """A checked filter.  Raises InvalidInput where it is not one, with the operator that may have been meant."""

    def __init__(self, where: Mapping[str, Any]) -> None:
        self._mask = _compile(where)

    def mask(self, column: Column, num_items: int) -> np.ndarray:
        """Which items pass: (N,) bool.  column(field): the field's values, one an item, or None where none has it."""
        return self._mask(column, num_items)


_Mask: TypeAlias = "Callable[[Column, int], np.ndarray]"


def _compile(where: Any) -> _Mask:
    if not isinstance(where, Mapping):
        raise InvalidInput(f'a filter must be a mapping such as {{"year": {{"gte": 2020}}}}, not {where!r}')
    masks = []
    for key, value in where.items():
        if not isinstance(key, str):
            raise InvalidInput(f"a filter's fields are strings, not {key!r}")
        masks.append(_logic(key, value) if key in _LOGIC else _field(key, value))
    return _all(masks)


def _logic(key: str, value: Any) -> _Mask:
    if key == "not":
        inner = _compile(value)
        return lambda column, n: ~inner(column, n)
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
        raise InvalidInput(f'filter "{key}" takes a list of filters, not {value!r}')
    masks = [_compile(part) for part in value]
    return _all(masks) if key == "and" else _any(masks)


def _all(masks: list[_Mask]) -> _Mask:
    def mask(column: Column, n: int) -> np.ndarray:
        passed = np.ones(n, bool)
        for part in masks:
            passed &= part(column, n)
        return passed

    return mask


def _any(masks: list[_Mask]) -> _Mask:
    def mask(column: Column, n: int) -> np.ndarray:
        passed = np.zeros(n, bool)
        for part in masks:
            passed |= part(column, n)
        return passed

    return mask


def _field(field: str, condition: Any) -> _Mask:
    if isinstance(condition, Mapping):
        if not condition:
            raise InvalidInput(f'filter on "{field}" holds no operator; use one of {", ".join(_OPERATORS)}')
        return _all([_tested(field, _test(field, name, value)) for name, value in condition.items()])
    return _tested(field, _test(field, "eq", condition))


def _tested(field: str, test: Test) -> _Mask:
    def mask(column: Column, n: int) -> np.ndarray:
        values = column(field)
        if values is None:
            return np.full(n, test(None))
        return np.fromiter(map(test, values), bool, n)

    return mask


def _test(field: str, name: Any, wanted: Any) -> Test:
    name = _SYMBOLS.get(name, name)
    if name not in _OPERATORS:
        close = get_close_matches(str(name), [*_OPERATORS, *_LOGIC], 1)
        hint = f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(_OPERATORS)}"
        raise InvalidInput(f'filter on "{field}": unknown operator {name!r}; {hint}')
    if name in ("in", "nin"):
        if isinstance(wanted, str | Mapping) or not isinstance(wanted, Sequence | set | frozenset):
            raise InvalidInput(f'filter on "{field}": {name!r} takes a list, not {wanted!r}')
        keys = {_key(field, value) for value in wanted}
        return (
            (lambda value: _value_key(value) in keys) if name == "in" else (lambda value: _value_key(value) not in keys)
        )
    if name == "exists":
        if not isinstance(wanted, bool):
            raise InvalidInput(f'filter on "{field}": "exists" takes true or false, not {wanted!r}')
        return lambda value: (value is not None) == wanted
    if name in _ORDERS:
        return _order_test(field, name, wanted)
    key = _key(field, wanted)
    return (lambda value: _value_key(value) == key) if name == "eq" else (lambda value: _value_key(value) != key)


def _order_test(field: str, name: str, wanted: Any) -> Test:
    compare = _ORDERS[name]
    _key(field, wanted)
    if isinstance(wanted, np.generic):
        wanted = wanted.item()
    if isinstance(wanted, str):
        return lambda value: isinstance(value, str) and compare(value, wanted)
    if isinstance(wanted, int | float) and not isinstance(wanted, bool):
        return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and compare(value, wanted)
    raise InvalidInput(f'filter on "{field}": {name!r} compares with a number or a string, not {wanted!r}')


def _key(field: str, value: Any) -> Any:
    """What a filter's value is compared by; raises InvalidInput where it cannot equal anything stored."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and math.isnan(value):
        raise InvalidInput(f'filter on "{field}": NaN equals nothing; to ask for missing values use null')
    try:
        return _value_key(value)
    except TypeError as error:
        raise InvalidInput(f'filter on "{field}": {value!r} is not a value that metadata can hold') from error


def _value_key(value: Any) -> Any:
    """A hashable stand-in by which equal JSON values are equal and True is not 1."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, int | float):
        return value
    if isinstance(value, list | tuple):
        return ("list", *map(_value_key, value))
    if isinstance(value, Mapping):
        return ("mapping", frozenset((key, _value_key(part)) for key, part in value.items()))
    raise TypeError(f"{type(value).__name__} is not a JSON type")
