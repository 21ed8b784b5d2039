"""Queries that an index may be shown when it is built: what questions are like, none of those that are measured.

    python -m benchmarks.search_sample

Writes sample32.npy (64, 32, 128) float16 beside the sets: questions of the train and valid splits of text_ir, encoded
as bench/make_vectors.py of the shared folder encodes those that are measured, which are all of the test split.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
from pathlib import Path
from types import ModuleType

import numpy as np

from benchmarks.search_data import SAMPLE, home
from benchmarks.search_workers import ROOT

COUNT = 64


def main() -> None:
    """Choose, encode and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=home() / "data", help="default %(default)s")
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("FLMR_SHARED", ROOT.parent / "shared")))
    options = parser.parse_args()
    maker = _maker(options.shared / "bench" / "make_vectors.py")
    with (options.shared / "data" / "text_ir" / "queries.jsonl").open(encoding="utf-8") as file:
        questions = [question for question in map(json.loads, file) if question["metadata"]["split"] != "test"]
    chosen = np.random.default_rng(3).choice(len(questions), COUNT, replace=False)
    texts = [questions[row]["text"] for row in chosen]
    rows = maker.encode(maker.load_tower(), texts, maker.QUERY_ROWS, mask_pad=True)
    np.save(options.data / f"{SAMPLE}.npy", np.stack(rows))


def _maker(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_vectors", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
