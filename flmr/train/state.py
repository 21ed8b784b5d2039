"""The folder of a run: its recipe, its metrics, the state to resume from, and the checkpoint it ends with.

Knows how to replace a file so that a kill at any moment leaves the old one or the new one.  Knows nothing of models
beyond dictionaries of tensors.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch

from flmr.errors import AlreadyExists, CheckpointError, InvalidRecipe, StorageError
from flmr.recipe import to_table
from flmr.train.recipe import TrainingRecipe

STATE = "state.pt"
METRICS = "metrics.jsonl"
RESULT = "result.json"
RECIPE = "recipe.toml"
SETTINGS = "recipe.json"
FEATURES = "features"


class RunFolder:
    """Where a run keeps what it knows; a folder that does not write only reads.

    Raises AlreadyExists where a run is there and was not to be resumed, StorageError where nothing can be written.
    """

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        self.path, self._writes = path, writes
        self._metrics: IO[str] | None = None

    def open(self, recipe_path: Path, recipe: TrainingRecipe, *, resume: bool) -> dict[str, Any] | None:
        """Prepare the folder; the state to go on from, or None at the very beginning.

        Raises InvalidRecipe where the run that is resumed was begun with another recipe.
        """
        if not self._writes:
            return self._load_state()
        settings = to_table(recipe)
        known = self.path / SETTINGS
        holds = {entry.name for entry in self.path.iterdir()} if self.path.is_dir() else set()
        begun = bool(holds - {RECIPE, SETTINGS})  # a run that could not start has left nothing but its recipe
        if begun and SETTINGS in holds and not resume:
            raise AlreadyExists(f"{str(self.path)!r} holds a training run; resume it, or give another folder")
        if begun and SETTINGS not in holds:
            raise AlreadyExists(f"{str(self.path)!r} is not empty and holds no training run; give another folder")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if begun:
                _check_same(json.loads(known.read_text(encoding="utf-8")), settings, self.path)
            else:
                replace_file(self.path / RECIPE, recipe_path.read_bytes())
                replace_file(known, _json(settings))
        except OSError as error:
            raise _refused(self.path, error) from None
        state = self._load_state()
        self._cut_metrics(state["lines"] if state else 0)
        return state

    def write_metrics(self, row: Mapping[str, Any]) -> None:
        """Append one line, seen by readers at once."""
        if not self._writes:
            return
        if self._metrics is None:
            self._metrics = (self.path / METRICS).open("a", encoding="utf-8")
        try:
            self._metrics.write(json.dumps(row) + "\n")
            self._metrics.flush()
        except OSError as error:
            raise _refused(self.path, error) from None

    def read_metrics(self) -> list[dict[str, Any]]:
        """Every line so far."""
        path = self.path / METRICS
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def save_state(self, state: dict[str, Any]) -> None:
        """Replace the state to resume from; `lines` in it says how many lines of metrics belong to it."""
        if not self._writes:
            return
        temporary = self.path / f"{STATE}.new"
        try:
            with temporary.open("wb") as file:
                torch.save({**state, "lines": len(self.read_metrics())}, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path / STATE)
            _sync_folder(self.path)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            raise _refused(self.path, error) from None

    def read_result(self) -> dict[str, Any] | None:
        """What a finished run wrote, or None."""
        path = self.path / RESULT
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write the result, the last file of a run, and drop what only a resume needs."""
        replace_file(self.path / RESULT, _json(result))
        (self.path / STATE).unlink(missing_ok=True)
        shutil.rmtree(self.path / FEATURES, ignore_errors=True)

    def close(self) -> None:
        """Close the metrics file."""
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None

    def _load_state(self) -> dict[str, Any] | None:
        path = self.path / STATE
        if not path.exists():
            return None
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch and pickle raise many kinds for a damaged file
            raise CheckpointError(f"state {str(path)!r} cannot be read ({error}); remove it to begin anew") from None
        assert isinstance(state, dict)
        return state

    def _cut_metrics(self, lines: int) -> None:
        """Drop what a killed run wrote after its last state."""
        path = self.path / METRICS
        if path.exists():
            kept = path.read_text(encoding="utf-8").splitlines(keepends=True)[:lines]
            replace_file(path, "".join(kept).encode())


def replace_file(path: Path, content: bytes) -> None:
    """Write a file beside the target, make it durable, and rename it over the target."""
    temporary = path.with_name(f"{path.name}.new")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync_folder(path.parent)


def _check_same(begun: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    changed = sorted(key for key in begun.keys() | now.keys() if begun.get(key) != now.get(key))
    if changed:
        raise InvalidRecipe(
            f"the run in {str(folder)!r} was begun with another recipe ({', '.join(changed)} changed);"
            " restore the recipe, or train into another folder"
        )


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _refused(path: Path, error: Exception) -> StorageError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return StorageError(f"training folder {str(path)!r} cannot be written: {reason}; free space or give another folder")
