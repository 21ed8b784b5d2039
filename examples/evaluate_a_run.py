"""Measure a retriever and any other system alike, by a TREC run: `python examples/evaluate_a_run.py [ENCODER]`."""

import sys
from pathlib import Path

import flmr
from flmr.data import qrels_of, read_questions
from flmr.data.sample import write_sample
from flmr.evaluate import evaluate_run, read_run, write_run

encoder = flmr.load_encoder(sys.argv[1] if len(sys.argv) > 1 else "bundled")
folder = Path("atlas")
write_sample(folder, splits=("test",), renderings={"test": 1})
questions = list(read_questions(folder / "questions.test.jsonl"))
with flmr.Retriever.build(folder / "passages.jsonl", "atlas.index", encoder, overwrite=True) as retriever:
    found = retriever.search_many(questions, k=10)
    write_run(found.run, "atlas.trec")
    texts = {passage.id: passage.full_text for passage in retriever.index.passages(retriever.index.ids())}

report = evaluate_run(
    read_run("atlas.trec"),  # or the run of any other system
    qrels_of(questions),
    ks=(1, 5, 10),
    answers={question.id: question.answers for question in questions},
    passage_text=texts,
    num_passages=len(texts),
)
print(report.table())
