"""The same vectors at other bits: an index made anew from one that kept float16, without encoding again.

    python -m benchmarks.requantize SOURCE OUT --nbits 2

SOURCE is flat (`flmr index --nbits 0`) or keeps its vectors.  Passages, encoder and recipe are carried over, so that
`flmr evaluate OUT` measures what the bits alone cost.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from flmr.errors import InvalidInput
from flmr.index import Index
from flmr.records import Passage


def main() -> None:
    """Write the index and say how large it is and how long it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--nbits", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    began = time.perf_counter()
    with Index.open(options.source) as source:
        facts = source.info()
        if facts["nbits"] != 0 and not facts.get("keep_vectors"):
            raise InvalidInput(
                f"{str(options.source)!r} holds {facts['nbits']}-bit codes only; give an index of nbits 0"
            )
        snapshot = source.searcher()
        ids = snapshot.ids()

        def vectors() -> Iterator[np.ndarray]:
            yield from map(snapshot.vectors, ids)

        def passages() -> Iterator[Passage]:
            yield from (snapshot.passage(passage_id) or Passage(passage_id) for passage_id in ids)

        made = Index.create(
            options.out,
            vectors(),
            ids,
            passages(),
            nbits=options.nbits,
            seed=options.seed,
            encoder=source.encoder,
            recipe=source.recipe,
        )
        with made:
            facts = made.info()
    line = f"{options.out}: {facts['items']:,} items, {facts['bytes_per_vector']:.1f} bytes a vector"
    sys.stdout.write(f"{line}, {time.perf_counter() - began:.0f} s\n")


if __name__ == "__main__":
    main()
