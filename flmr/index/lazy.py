"""A property that is worked out on first use and then kept.

Knows one attribute of one object.  Unlike functools.cached_property up to Python 3.11 it takes no lock: a process that
forks while one of its threads works the value out would leave the lock held in the child for ever.  Two threads that
come at once may both work it out; they get equal values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

Value = TypeVar("Value")


class lazy(Generic[Value]):  # noqa: N801  # used as @lazy, like @property
    """Decorates a method without arguments of a class whose instances have a `__dict__`."""

    def __init__(self, work: Callable[[Any], Value]) -> None:
        self._work = work
        self.__doc__ = work.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> lazy[Value]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Value: ...
    def __get__(self, instance: object | None, owner: type) -> lazy[Value] | Value:
        if instance is None:
            return self
        value = self._work(instance)
        instance.__dict__[self._name] = value  # found before this descriptor from now on
        return value
