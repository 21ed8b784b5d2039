"""The published table of PreFLMR on M2KR, task by task: index the test passages, ask the test questions, compare.

    python -m benchmarks.m2kr TASK... --data FOLDER [--images FOLDER] [--encoder LinWeizheDragon/PreFLMR_ViT-L]

TASK: wit iglue kvqa msmarco oven llava evqa okvqa infoseek, or `all`.  FOLDER: the M2KR repository as it is downloaded.
An index that stands in --indexes is used again, an interrupted build goes on.  Each task is a row in --out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from flmr.build import DEFAULT_ENCODER, IndexRecipe
from flmr.evaluate import write_result
from flmr.measure import Measured, Options, measure
from flmr.retriever import build_from_recipe

# Strict recall at the task's cut-off, and pseudo recall where it is published: the README of the FLMR repository.
PUBLISHED: dict[str, dict[str, tuple[float, ...]]] = {
    "wit": {"ViT-B": (0.427,), "ViT-L": (0.605,), "ViT-G": (0.619,)},
    "iglue": {"ViT-B": (0.574,), "ViT-L": (0.699,), "ViT-G": (0.718,)},
    "kvqa": {"ViT-B": (0.294,), "ViT-L": (0.440,), "ViT-G": (0.419,)},
    "msmarco": {"ViT-B": (0.786,), "ViT-L": (0.779,), "ViT-G": (0.783,)},
    "oven": {"ViT-B": (0.468,), "ViT-L": (0.608,), "ViT-G": (0.643,)},
    "llava": {"ViT-B": (0.673,), "ViT-L": (0.729,), "ViT-G": (0.726,)},
    "evqa": {"ViT-B": (0.550, 0.663), "ViT-L": (0.609, 0.708), "ViT-G": (0.625, 0.721)},
    "okvqa": {"ViT-B": (0.272, 0.658), "ViT-L": (0.314, 0.690), "ViT-G": (0.302, 0.674)},
    "infoseek": {"ViT-B": (0.260, 0.496), "ViT-L": (0.374, 0.578), "ViT-G": (0.392, 0.577)},
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Build, measure, print and write, task after task."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="+", choices=[*PUBLISHED, "all"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=Path, help="where the image paths of the one task start")
    parser.add_argument("--encoder", default=DEFAULT_ENCODER)
    parser.add_argument("--nbits", type=int, default=8, help="as published; fewer show what they cost")
    parser.add_argument("--indexes", type=Path, default=Path("built/m2kr"))
    parser.add_argument("--out", type=Path, default=Path("built/m2kr/results.jsonl"))
    options = parser.parse_args(arguments)
    tasks = list(PUBLISHED) if "all" in options.tasks else options.tasks
    if options.images and len(tasks) > 1:
        parser.error("--images is for one task; of several the pictures are looked for in FOLDER/images/SUBSET")
    for task in tasks:
        measured = _measured(f"m2kr/{task}", options)
        sys.stdout.write(_line(task, options.encoder, measured) + "\n")
        sys.stdout.flush()
        labels = {"encoder": options.encoder, "nbits": options.nbits, "unreadable": len(measured.unreadable)}
        command = f"python -m benchmarks.m2kr {' '.join(sys.argv[1:])}"
        write_result(options.out, measured.report, command=command, labels={**labels, **measured.labels})


def _measured(task: str, options: argparse.Namespace) -> Measured:
    recipe = IndexRecipe(
        task=task, root=options.data, images=options.images, encoder=options.encoder, nbits=options.nbits
    )
    path = options.indexes / f"{Path(options.encoder).name}-{task.rpartition('/')[2]}-{options.nbits}"
    with build_from_recipe(recipe, path, resume=True, progress=True) as retriever:
        (questions,) = recipe.question_sets.values()
        return measure(retriever, task, questions, Options(), progress=True)


def _line(task: str, encoder: str, measured: Measured) -> str:
    """Both recalls beside the published ones, and what was not read."""
    strict = str(measured.labels["published_measure"])
    values = {row.measure: row.value for row in measured.report.rows}
    published = next((values for name, values in PUBLISHED[task].items() if name in encoder), ())
    parts = [f"{task:<9}{measured.report.num_queries:>7,} questions{measured.report.num_passages or 0:>11,} passages"]
    for i, name in enumerate((strict, strict.replace("strict", "pseudo"))):
        there = f"{published[i]:.3f}" if i < len(published) else "-"
        own = f"{values[name]:.4f}" if name in values else "-"
        parts.append(f"{name} {own} (published {there})")
    skipped = len(measured.lines.skipped)
    parts.append(f"{len(measured.unreadable):,} pictures and {skipped:,} rows unreadable")
    return "  ".join(parts)


if __name__ == "__main__":
    main()
