"""The atlas as files: passages.jsonl, questions.{split}.jsonl, images/{split}/, and the names of the pictures alone.

Knows file names and how many pictures and questions a split has.  Knows neither facts nor styles.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flmr.data.sample.facts import Entity
from flmr.data.sample.passages import entities, passages
from flmr.data.sample.questions import IMAGE_INSTRUCTIONS, SPLITS, Split, draw
from flmr.data.sample.render import SIZE, SPLIT_STYLES, render, seed_of
from flmr.errors import InvalidInput, StorageError

Progress = Callable[[str, int, int | None], None]

# Pictures for each figure, one question to a picture.  test: 136 figures, 408 questions.
RENDERINGS: Mapping[Split, int] = {"train": 48, "valid": 2, "test": 3}
QUALITY = 92  # of the JPEG files


def write_sample(
    folder: str | Path,
    *,
    splits: Sequence[Split] = SPLITS,
    renderings: Mapping[Split, int] | None = None,
    size: int = SIZE,
    seed: int = 0,
    progress: Progress | None = None,
) -> None:
    """Write the knowledge base and the question sets of some splits; the same call writes the same bytes.

    Beside them, names.jsonl (a passage for each figure, its name) and pictures.{split}.jsonl (the pictures, asked for
    that name): the smaller task that a model may learn first.

    renderings: pictures per figure and split, where other than RENDERINGS.  size: pixels a side.
    progress: called with (stage, done, total).  Every figure occurs in every split: what is held out in valid and test
    are the pictures, some styles, and the wording of the questions.
    Raises InvalidInput for an unknown split, StorageError where the folder cannot be written.
    """
    folder = Path(folder)
    unknown = [split for split in (*splits, *(renderings or ())) if split not in SPLITS]
    if unknown:
        raise InvalidInput(f"split {unknown[0]!r} is not known; there are {', '.join(SPLITS)}")
    counts = {**RENDERINGS, **(renderings or {})}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_lines(
            folder / "passages.jsonl", ({"id": p.id, "title": p.title, "text": p.text, **p.meta} for p in passages())
        )
        _write_lines(folder / "names.jsonl", ({"id": entity.id, "text": entity.title} for entity in entities()))
        for split in splits:
            _write_split(folder, split, counts[split], size, seed, progress)
    except OSError as error:
        raise StorageError(f"the sample cannot be written to {str(folder)!r}: {error.strerror or error}") from error


def _write_split(folder: Path, split: Split, count: int, size: int, seed: int, progress: Progress | None) -> None:
    images = folder / "images" / split
    images.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    total = count * len(entities())
    for entity in entities():
        taken: frozenset[str] = frozenset()
        for number in range(count):
            row = _question(entity, split, number, seed, taken)
            taken |= {row["type"]}
            picture = render(entity.id, seed_of(split, number, seed), row["style"], size)
            picture.save(folder / row["image"], quality=QUALITY)
            rows.append(row)
            if progress is not None:
                progress(f"drawing {split}", len(rows), total)
    _write_lines(folder / f"questions.{split}.jsonl", rows)
    _write_lines(folder / f"pictures.{split}.jsonl", map(_picture, rows))


def _question(entity: Entity, split: Split, number: int, seed: int, taken: frozenset[str]) -> dict[str, Any]:
    """One line of a question file."""
    key = [seed_of(split, number, seed), *entity.id.encode()]
    rng = np.random.default_rng(key)
    known, held_out = SPLIT_STYLES[split]
    # every second picture of valid and test is in a style that train does not have
    styles = held_out if held_out and (number + len(entity.id)) % 2 else known
    drawn = draw(entity, split, rng, taken=taken if split != "train" else frozenset())
    return {
        "id": f"{split}-{entity.id}-{number:03d}",
        "text": drawn.text,
        "image": f"images/{split}/{entity.id}-{number:03d}.jpg",
        "instruction": drawn.instruction,
        "positive_ids": drawn.positive_ids(entity),
        "answers": list(drawn.answers),
        "entity": entity.id,
        "type": drawn.type,
        "style": str(rng.choice(styles)),
        "held_out_style": styles is held_out,
    }


def _picture(row: Mapping[str, Any]) -> dict[str, Any]:
    """The picture of a question, asked for nothing but the name of its figure: for names.jsonl."""
    kept = {key: row[key] for key in ("id", "image", "entity", "style", "held_out_style")}
    return {**kept, "instruction": IMAGE_INSTRUCTIONS[0], "positive_ids": [row["entity"]]}


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
