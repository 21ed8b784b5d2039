"""Recipes: what is read, what is refused, and with which words."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from flmr.errors import InvalidRecipe
from flmr.recipe import from_table, load_recipe, to_table


@dataclass(frozen=True)
class Probe:
    nprobe: int = 4
    threshold: float = 0.5
    mode: Literal["fast", "exact"] = "fast"


@dataclass(frozen=True)
class Build:
    passages: Path
    nbits: int = 2
    probe: Probe = field(default_factory=Probe)
    ks: tuple[int, ...] = (5, 10)
    limit: int | None = None


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "build.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_fill_what_the_file_leaves_out(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, 'passages = "p.jsonl"\n[probe]\nthreshold = 1\n'), Build)
    assert recipe == Build(passages=tmp_path / "p.jsonl", probe=Probe(threshold=1.0))


def test_unknown_key_is_an_error_with_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(InvalidRecipe, match="unknown key 'nprob'; did you mean 'nprobe'"):
        load_recipe(write(tmp_path, 'passages = "p"\n[probe]\nnprob = 3\n'), Build)


def test_missing_required_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRecipe, match="key 'passages' is missing"):
        load_recipe(write(tmp_path, "nbits = 2\n"), Build)


@pytest.mark.parametrize("line", ["nbits = 2.5", 'nbits = "2"', "nbits = true", "ks = 5", 'ks = ["a"]', "probe = 3"])
def test_wrong_type_names_the_key(tmp_path: Path, line: str) -> None:
    with pytest.raises(InvalidRecipe, match=line.split()[0]):
        load_recipe(write(tmp_path, f'passages = "p"\n{line}\n'), Build)


def test_value_out_of_a_literal_lists_the_choices(tmp_path: Path) -> None:
    with pytest.raises(InvalidRecipe, match="one of 'fast', 'exact'"):
        load_recipe(write(tmp_path, 'passages = "p"\n[probe]\nmode = "slow"\n'), Build)


def test_missing_file_and_broken_toml_are_recipe_errors(tmp_path: Path) -> None:
    with pytest.raises(InvalidRecipe, match="does not exist"):
        load_recipe(tmp_path / "none.toml", Build)
    with pytest.raises(InvalidRecipe, match="not TOML"):
        load_recipe(write(tmp_path, "passages = \n"), Build)


def test_paths_follow_environment_variables_with_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, 'passages = "${FLMR_TEST_DATA:-../data}/p.jsonl"\n')
    monkeypatch.delenv("FLMR_TEST_DATA", raising=False)
    assert load_recipe(path, Build).passages == tmp_path.parent / "data" / "p.jsonl"
    monkeypatch.setenv("FLMR_TEST_DATA", "/elsewhere")
    assert load_recipe(path, Build).passages == Path("/elsewhere/p.jsonl")


def test_unset_variable_without_default_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLMR_TEST_DATA", raising=False)
    with pytest.raises(InvalidRecipe, match="FLMR_TEST_DATA is not set"):
        load_recipe(write(tmp_path, 'passages = "${FLMR_TEST_DATA}/p"\n'), Build)


def test_table_round_trips() -> None:
    recipe = Build(passages=Path("/a/p.jsonl"), limit=3, ks=(1,))
    assert from_table(to_table(recipe), Build) == recipe
