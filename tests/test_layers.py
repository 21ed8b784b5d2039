"""Imports point down: every module of flmr may import only what lies below it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from conftest import ROOT

# From the bottom up.  Modules on one line do not know each other.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("records",),
    ("roles", "ops", "recipe", "images", "progress"),
    ("data", "model", "index", "evaluate"),
    ("journal", "hybrid"),
    ("build",),
    ("retriever",),
    ("explain", "measure", "train", "compat"),
    ("show",),
    ("demo",),
    ("cli",),
)
# Modules of ops that are made of torch; whoever needs them imports them inside a function.
TORCH_INSIDE = {f"ops/{name}.py" for name in ("assign_torch", "cuda", "maxsim_torch", "resident", "waiting")}
FRONT_DOOR = {"__init__", "__main__"}  # may name every layer, lazily
HEAVY = {
    "torch": {"model", "train", "ops"},
    "transformers": {"model", "train"},
    "matplotlib": {"train"},
    "typer": {"cli"},
    "rich": {"cli", "demo", "show", "progress"},
}


def modules() -> list[Path]:
    return sorted((ROOT / "flmr").rglob("*.py"))


def part_of(path: Path) -> str:
    return path.relative_to(ROOT / "flmr").parts[0].removesuffix(".py")


def imports_of(path: Path) -> list[tuple[str, bool]]:
    """Each imported module's dotted name, and whether the import stands at the top of the file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    at_top = {id(node) for node in tree.body}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in at_top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full, not relative"
            found.append((node.module or "", id(node) in at_top))
            if node.module == "flmr":
                found += [(f"flmr.{alias.name}", id(node) in at_top) for alias in node.names]
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_module_imports_only_from_below(path: Path) -> None:
    part = part_of(path)
    if part in FRONT_DOOR:
        return
    level = {name: i for i, names in enumerate(LAYERS) for name in names}
    assert part in level, f"flmr/{part} stands in no layer; add it to LAYERS"
    for name, _ in imports_of(path):
        words = name.split(".")
        if words[0] != "flmr" or len(words) < 2 or words[1] not in level or words[1] == part:
            continue
        assert level[words[1]] < level[part], f"{path.relative_to(ROOT)} imports flmr.{words[1]}, which is not below it"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_heavy_packages_are_imported_only_where_they_belong(path: Path) -> None:
    part, place = part_of(path), path.relative_to(ROOT / "flmr").as_posix()
    for name, at_top in imports_of(path):
        package = name.split(".")[0]
        if package in HEAVY:
            assert part in HEAVY[package], f"{path.relative_to(ROOT)} imports {package}"
            lazy = part == "ops" and place not in TORCH_INSIDE
            assert not (lazy and at_top), f"{path.relative_to(ROOT)} imports {package} at the top of the file"
        if at_top and place not in TORCH_INSIDE:
            made_of_torch = name.replace(".", "/").removeprefix("flmr/") + ".py" in TORCH_INSIDE
            assert not made_of_torch, (
                f"{path.relative_to(ROOT)} imports {name}, and torch with it, at the top of the file"
            )
