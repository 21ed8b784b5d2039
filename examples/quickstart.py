"""Build an index, ask it about a picture, print the best passages: `python examples/quickstart.py [ENCODER]`."""

import sys

import flmr
from flmr.data.sample import passages, render

encoder = flmr.load_encoder(sys.argv[1] if len(sys.argv) > 1 else "bundled")
picture = render("trefoil-knot", seed=1, style="linocut", size=128)
with flmr.Retriever.build(passages(), "atlas.index", encoder, overwrite=True) as retriever:
    question = flmr.Query("Which sort of curve or figure is shown?", image=picture)
    for hit in retriever.search(question, k=3)[0]:
        print(f"{hit.rank}. {hit.score:.2f}  {hit.passage.title}: {hit.passage.text}")
