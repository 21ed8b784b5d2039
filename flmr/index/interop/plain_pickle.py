"""Plain data out of a pickle, without running it.

Knows the operations that numbers, strings, lists, tuples and dicts are made of.  A class or function that a pickle
names stays a name, and calling one stays a record of the call: nothing is imported or run, whatever the bytes say.
"""

from __future__ import annotations

from dataclasses import dataclass
from pickletools import genops
from typing import Any

from flmr.errors import CorruptIndex
from flmr.index.manifest import RESTORE


@dataclass(frozen=True)
class Named:
    """A class or function that a pickle names: "module name"."""

    name: str


@dataclass(frozen=True)
class Called:
    """A call that a pickle asks for, not made."""

    function: Any
    arguments: Any


@dataclass(frozen=True)
class Referenced:
    """A persistent id: what it means is its reader's business."""

    key: Any


_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUT = {"PUT", "BINPUT", "LONG_BINPUT"}
_GET = {"GET", "BINGET", "LONG_BINGET"}


def plain_pickle(data: bytes, name: str) -> Any:
    """What a pickle holds; raises CorruptIndex, naming its file, where it is damaged or needs more than plain data."""
    try:
        return _Reader().read(data)
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        raise CorruptIndex(f"{name} is no pickle of plain data ({error}): {RESTORE}") from error


class _Reader:
    """One pickle's stack, marks and memo."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def read(self, data: bytes) -> Any:
        argument: Any
        for operation, argument, _ in genops(data):
            name = operation.name
            if name == "STOP":
                break
            if name in _VALUES:
                self._stack.append(argument)
            elif name == "MEMOIZE":
                self._memo[len(self._memo)] = self._stack[-1]
            elif name in _PUT:
                self._memo[argument] = self._stack[-1]
            elif name in _GET:
                self._stack.append(self._memo[argument])
            else:
                self._build(name, argument)
        return self._stack.pop()

    def _build(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name == "MARK":
            self._marks.append(stack)
            self._stack = []
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            stack.append(tuple(self._pop(_TUPLES[name])))
        elif name == "TUPLE":
            self._after_mark().append(tuple(stack))
        elif name == "APPEND":
            self._extend(stack, self._pop(1))
        elif name == "APPENDS":
            self._extend(self._after_mark(), stack)
        elif name == "SETITEM":
            self._update(stack, self._pop(2))
        elif name == "SETITEMS":
            self._update(self._after_mark(), stack)
        elif name == "GLOBAL":
            stack.append(Named(argument))
        elif name == "STACK_GLOBAL":
            stack.append(Named(" ".join(self._pop(2))))
        elif name == "REDUCE":
            stack.append(Called(*self._pop(2)))
        elif name == "BINPERSID":
            stack.append(Referenced(stack.pop()))
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"the operation {name} makes more than plain data")

    def _after_mark(self) -> list[Any]:
        self._stack = self._marks.pop()
        return self._stack

    def _pop(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise ValueError("it takes more than it has put")
        taken = self._stack[-count:]
        del self._stack[-count:]
        return taken

    @staticmethod
    def _extend(stack: list[Any], values: list[Any]) -> None:
        if not isinstance(stack[-1], list):
            raise ValueError("it appends to what is no list")
        stack[-1].extend(values)

    @staticmethod
    def _update(stack: list[Any], values: list[Any]) -> None:
        if not isinstance(stack[-1], dict):
            raise ValueError("it sets keys of what is no dict")
        stack[-1].update(zip(values[::2], values[1::2], strict=True))
