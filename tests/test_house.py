"""The house rules that a machine can check: the README's tree, and what no file may hold."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT


def tracked_files() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).exists()]


def test_readme_tree_names_every_module_and_only_what_exists() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\s*([\w./-]+\.(?:py|cpp|cu|h))\s", readme, re.MULTILINE))
    modules = {p.name for p in (ROOT / "flmr").rglob("*.py") if p.name != "__init__.py"}
    kernels = {p.name for p in (ROOT / "csrc").rglob("*") if p.suffix in {".cpp", ".cu", ".h"}}
    missing = sorted((modules | kernels) - {Path(name).name for name in named})
    assert not missing, f"README.md's tree does not name {missing}"
    exists = {p.name for p in tracked_files()}
    gone = sorted({Path(name).name for name in named} - exists)
    assert not gone, f"README.md's tree names files that do not exist: {gone}"


def test_no_tracked_file_is_pickle_or_notebook() -> None:
    bad = [p.name for p in tracked_files() if p.suffix in {".pkl", ".pickle", ".pt", ".bin", ".ipynb"}]
    assert not bad


def test_package_never_loads_pickle_or_evaluates_text() -> None:
    for path in (ROOT / "flmr").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "import pickle" not in text, path
        for call in re.finditer(r"torch\.load\((.*)", text):
            assert "weights_only=True" in text[call.start() : call.start() + 200], path


def test_commands_of_figures_name_no_folder_of_one_machine() -> None:
    absolute = re.compile(r"(?:^|[\s\",=])(/(?:tmp|home|root|work|var|mnt|data)/[^\s\",]*)")
    for path in (ROOT / "benchmarks" / "results").iterdir():
        found = absolute.search(path.read_text(encoding="utf-8"))
        assert not found, f"{path.name} names {found[1] if found else ''}: give paths from the repository's root"
