"""Show why a passage was found, in numbers and as a page: `python examples/explain_a_hit.py [ENCODER]`."""

import sys

import flmr
from flmr.data.sample import passages, render
from flmr.explain import score_parts, write_page

encoder = flmr.load_encoder(sys.argv[1] if len(sys.argv) > 1 else "bundled")
picture = render("koch-snowflake", seed=1, style="ice", size=256)
with flmr.Retriever.build(passages(), "atlas.index", encoder, overwrite=True) as retriever:
    question = flmr.Query("Which construction or equation gives the figure shown?", image=picture)
    best = retriever.search(question, k=1)[0][0]
    explanation = retriever.explain(question, best)

print(f"{best.id} scored {best.score:.3f}")
for part in score_parts(explanation):
    print(f"  {part.kind:>6}: {part.score:7.3f} from {part.rows} rows")
for i in explanation.similarities.max(axis=1).argsort()[::-1][:5]:
    row = explanation.query_rows[i]
    matched = explanation.passage_rows[explanation.similarities[i].argmax()]
    print(f"  {row.label!r} matched {matched.label!r} ({explanation.similarities[i].max():.3f})")
print("wrote", write_page(explanation, "explain.html"))
