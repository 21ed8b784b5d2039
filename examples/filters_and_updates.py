"""Filter by metadata, then add, replace and delete: `python examples/filters_and_updates.py [ENCODER]`."""

import sys

import flmr

BRIDGES = [
    flmr.Passage("golden-gate", "A red suspension bridge.", title="Golden Gate", meta={"year": 1937, "country": "US"}),
    flmr.Passage(
        "akashi", "The longest span for decades.", title="Akashi Kaikyo", meta={"year": 1998, "country": "JP"}
    ),
    flmr.Passage("millau", "A cable-stayed viaduct.", title="Millau", meta={"year": 2004, "country": "FR"}),
]


def titles(hits: list[flmr.Hit]) -> list[str]:
    return [hit.passage.title for hit in hits]


encoder = flmr.load_encoder(sys.argv[1] if len(sys.argv) > 1 else "bundled")
with flmr.Retriever.build(BRIDGES, "bridges.index", encoder, overwrite=True) as retriever:
    question = "a bridge with a long span"
    print("all:", titles(retriever.search(question)[0]))
    print("since 1990:", titles(retriever.search(question, where={"year": {"gte": 1990}})[0]))
    print("not in Japan:", titles(retriever.search(question, where={"country": {"ne": "JP"}})[0]))

    retriever.add([flmr.Passage("forth", "A cantilever railway bridge.", title="Forth", meta={"year": 1890})])
    retriever.add(
        [flmr.Passage("akashi", "A suspension bridge.", title="Pearl Bridge", meta={"year": 1998})], update=True
    )
    retriever.delete(["golden-gate"])
    print("now:", titles(retriever.search(question)[0]))
    print("a searcher is a snapshot:", len(retriever.index.searcher()), "passages, whatever is written next")
