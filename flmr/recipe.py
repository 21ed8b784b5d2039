"""Recipes: TOML files become frozen dataclasses.

Knows how a table maps to a dataclass: an unknown key is an error with a suggestion, a missing one takes the default
that the dataclass writes once.  A field of type Path is relative to the recipe's own folder and may name an environment
variable with a default: `${DATA:-../data}/passages.jsonl`.
Knows no particular recipe: those stand beside the component that they configure.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from flmr.errors import InvalidRecipe

R = TypeVar("R")


def load_recipe(path: str | Path, kind: type[R]) -> R:
    """Read a TOML file into the dataclass `kind`; raises InvalidRecipe naming the file and the key."""
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidRecipe(f"recipe {str(path)!r} does not exist") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidRecipe(f"recipe {str(path)!r} is not TOML: {error}") from None
    except OSError as error:
        raise InvalidRecipe(f"recipe {str(path)!r} cannot be read: {error.strerror}") from None
    return from_table(table, kind, where=str(path), folder=path.parent)


def from_table(table: Mapping[str, Any], kind: type[R], *, where: str = "recipe", folder: Path = Path()) -> R:
    """Build the dataclass `kind` from a table; `where` names the table in errors, paths are relative to `folder`."""
    if not dataclasses.is_dataclass(kind):
        raise TypeError(f"{kind} is not a dataclass")
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind) if f.init}
    for key in table:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(fields))}"
            raise InvalidRecipe(f"{where}: unknown key {key!r}; {hint}")
    for name, f in fields.items():
        if name not in table and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise InvalidRecipe(f"{where}: key {name!r} is missing")
    values = {key: _convert(value, hints[key], f"{where}: {key}", folder) for key, value in table.items()}
    try:
        return kind(**values)
    except InvalidRecipe:
        raise
    except (ValueError, TypeError) as error:
        raise InvalidRecipe(f"{where}: {error}") from None


def to_table(recipe: Any) -> dict[str, Any]:
    """The nested dict of a recipe, for metrics and manifests; paths become strings, None is left out."""

    def plain(value: Any) -> Any:
        if isinstance(value, Path):
            return str(value)
        if isinstance(value, Mapping):
            return {k: plain(v) for k, v in value.items() if v is not None}
        if isinstance(value, list | tuple):
            return [plain(v) for v in value]
        return value

    result = plain(dataclasses.asdict(recipe))
    assert isinstance(result, dict)
    return result


def _convert(value: Any, hint: Any, where: str, folder: Path) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(value, args, where, folder)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise InvalidRecipe(f"{where} must be a table, not {value!r}")
        return from_table(value, hint, where=where, folder=folder)
    if origin is typing.Literal:
        if value not in args:
            raise InvalidRecipe(f"{where} must be one of {', '.join(map(repr, args))}, not {value!r}")
        return value
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        if not isinstance(value, list):
            raise InvalidRecipe(f"{where} must be a list, not {value!r}")
        return tuple(_convert(v, args[0], f"{where}[{i}]", folder) for i, v in enumerate(value))
    if origin in (dict, Mapping) or origin is typing.get_origin(Mapping[str, Any]):
        if not isinstance(value, Mapping):
            raise InvalidRecipe(f"{where} must be a table, not {value!r}")
        return {k: _convert(v, args[1], f"{where}.{k}", folder) for k, v in value.items()}
    if hint is Any:
        return value
    if hint is Path and isinstance(value, str):
        return Path(os.path.normpath(folder / _expand(value, where)))
    if hint is float and type(value) is int:
        return float(value)
    if isinstance(hint, type) and type(value) is hint:
        return value
    raise InvalidRecipe(f"{where} must be {getattr(hint, '__name__', hint)}, not {value!r}")


def _expand(text: str, where: str) -> str:
    """Replace ${NAME} and ${NAME:-default} by the environment's value; a variable without either is an error."""

    def value_of(match: re.Match[str]) -> str:
        name, default = match.group(1), match.group(2)
        value = os.environ.get(name) or default
        if value is None:
            raise InvalidRecipe(
                f"{where}: environment variable {name} is not set; set it or write ${{{name}:-default}}"
            )
        return value

    return re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", value_of, text)


def _convert_union(value: Any, options: tuple[Any, ...], where: str, folder: Path) -> Any:
    reasons = []
    for option in options:
        if option is type(None):
            continue
        try:
            return _convert(value, option, where, folder)
        except InvalidRecipe as error:
            reasons.append(str(error))
    raise InvalidRecipe(reasons[0])
