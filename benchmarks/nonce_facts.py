"""Does training retriever and reader together help where the answer is in the passages alone?

    python -m benchmarks.nonce_facts [--seeds 0 1 2] [--out runs/nonce-facts] [--steps N]

The atlas's 136 figures each have a made-up name in twelve places: "In the harbour it is called zorvik."  Questions show
a picture of the figure and name people, not the place: "What do sailors call this figure?"  The retriever starts as the
bundled checkpoint, which knows the figures but was never told that sailors are found in harbours; the reader is a T5 of
some hundred thousand weights that has learned to read such sentences about other, random names.  No name that a test
question asks for is the answer of a training question.

For each seed: a new world, a reader, and three runs of training/nonce-facts.toml that differ in what moves: `joint`,
`frozen` (the reader alone) and `closed-book` (no passages).  Test questions have pictures and wordings of their own
and are asked once, of the checkpoints on disk.  Rows go to benchmarks/results/nonce_facts.jsonl.
"""

# N texts, L tokens.

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.search_rows import birthplace
from flmr import Hit, Retriever
from flmr.data import read_passages, read_questions
from flmr.data.sample import entities, render
from flmr.data.sample.questions import INSTRUCTIONS
from flmr.data.sample.render import seed_of
from flmr.data.sample.styles import TRAIN_STYLES
from flmr.evaluate.answers import exact_match, vqa_score
from flmr.evaluate.pseudo_recall import pseudo_recall
from flmr.model.reader import ReaderSettings, TransformersReader, load_reader
from flmr.records import Query, Question
from flmr.train import train

HERE = Path(__file__).resolve().parent
RECIPE = HERE.parent / "training" / "nonce-facts.toml"
RESULTS = HERE / "results" / "nonce_facts.jsonl"

PEOPLE = {
    "harbour": "sailors", "kitchen": "cooks", "court": "judges", "stable": "riders", "theatre": "actors",
    "mill": "millers", "mine": "miners", "school": "pupils", "camp": "soldiers", "garden": "growers",
    "market": "traders", "forge": "smiths",
}  # fmt: skip
WORDINGS = {
    "train": (
        "What do {people} call this figure?",
        "Which name do {people} have for what is shown?",
        "By what word do {people} know it?",
    ),
    "valid": ("How is this figure called by {people}?",),
    "test": ("What is the {people} name for the figure in the picture?",),
}
SHARES = {"train": 0.7, "valid": 0.08, "test": 0.22}
PICTURES = {"train": 3, "valid": 1, "test": 2}  # of each figure
SYLLABLES = ["".join(parts) for parts in product("bdgklmprstvz", "aiou", "n")]  # 48; a name has two
PROMPT = "Question: {question} Knowledge: {passage} Answer:"
ARMS = {
    "joint": {},
    "frozen": {"learning_rate_text = 3e-4": "learning_rate_text = 0.0"},
    "closed-book": {
        "learning_rate_text = 3e-4": "learning_rate_text = 0.0",
        'retrieval = "live"': 'retrieval = "none"',
        "loss = { marginal = 1.0, relevance = 1.0 }": "loss = { marginal = 1.0, relevance = 0.0 }",
        'measure = "pseudo_recall@5"': 'measure = "exact_match"',
    },
}  # what differs from the recipe in the text of the recipe


# --- the world -----------------------------------------------------------------------------------------------------


def write_pictures(folder: Path) -> None:
    """images/SPLIT/ENTITY-NUMBER.png: every split has pictures of its own, the same for all seeds."""
    for split, count in PICTURES.items():
        (folder / split).mkdir(parents=True, exist_ok=True)
        for entity, number in product(entities(), range(count)):
            path, seed = folder / split / f"{entity.id}-{number}.png", seed_of(split, 1000 + number)
            if not path.exists():
                style = sorted(TRAIN_STYLES)[seed % len(TRAIN_STYLES)]
                render(entity.id, seed=seed, style=style, size=96).save(path)


def write_world(folder: Path, seed: int) -> None:
    """passages.jsonl and questions.{split}.jsonl: the same bytes for the same seed."""
    rng = np.random.default_rng([seed, 11])
    folder.mkdir(parents=True, exist_ok=True)
    facts = list(product(entities(), PEOPLE))
    bounds = [round(len(facts) * share) for share in np.cumsum([0, *SHARES.values()])]
    split_of = rng.permutation(np.repeat(list(SHARES), np.diff(bounds)))
    passages: list[dict[str, Any]] = []
    questions: dict[str, list[dict[str, Any]]] = {split: [] for split in SHARES}
    for (entity, place), name, split in zip(facts, _names(rng, len(facts)), split_of, strict=True):
        passages.append({"id": f"{entity.id}/{place}", "title": entity.title, "text": sentence(place, name)})
        picture = f"../images/{split}/{entity.id}-{rng.integers(PICTURES[split])}.png"
        wording = WORDINGS[split][int(rng.integers(len(WORDINGS[split])))]
        row = {"text": wording.format(people=PEOPLE[place]), "image": picture, "instruction": INSTRUCTIONS[0]}
        row |= {"answers": [name], "positive_ids": [passages[-1]["id"]]}
        questions[split].append({"id": f"{split}-{len(questions[split])}", **row})
    _write_lines(folder / "passages.jsonl", passages)
    for split, rows in questions.items():
        _write_lines(folder / f"questions.{split}.jsonl", rows)


def sentence(place: str, name: str) -> str:
    """What a passage says."""
    return f"In the {place} it is called {name}."


def _names(rng: np.random.Generator, count: int) -> Iterator[str]:
    """Different words of two syllables."""
    for number in rng.choice(len(SYLLABLES) ** 2, count, replace=False):
        yield SYLLABLES[number // len(SYLLABLES)] + SYLLABLES[number % len(SYLLABLES)]


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


# --- the reader ----------------------------------------------------------------------------------------------------


def new_reader(folder: Path, seed: int) -> TransformersReader:
    """A T5 with random weights and a vocabulary of the world's words and of all syllables."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    texts = [passage.full_text for passage in read_passages(folder / "passages.jsonl")]
    names = {text.split()[-1].strip(".").lower() for text in texts}
    texts += [
        wording.format(people=people) for rows in WORDINGS.values() for wording in rows for people in PEOPLE.values()
    ]
    words = {word for text in [*texts, PROMPT] for word in re.findall(r"\w+|[^\w\s]", text.lower())} - names
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    pieces = ["<pad>", "</s>", "<unk>", *sorted(words | set(letters) | set(SYLLABLES))]
    pieces += [f"##{piece}" for piece in [*letters, *SYLLABLES]]
    inner = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="<unk>"))
    inner.normalizer = normalizers.BertNormalizer()
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    torch.manual_seed(seed)
    width = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0}
    ids = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    model = T5ForConditionalGeneration(T5Config(vocab_size=len(pieces), **width, **ids))
    return TransformersReader(model, tokenizer, ReaderSettings(PROMPT, max_prompt=64, max_answer=4, beams=1))


def teach_reading(reader: TransformersReader, folder: Path, seed: int, steps: int) -> float:
    """Sentences with random names in place of the world's; returns the share of names read right afterwards."""
    rng = np.random.default_rng([seed, 12])
    titles = sorted({passage.title for passage in read_passages(folder / "passages.jsonl")})
    places = list(PEOPLE)

    def draw(count: int) -> tuple[list[Query], list[str], list[str]]:
        queries, texts, targets = [], [], []
        for _ in range(count):
            people = PEOPLE[places[rng.integers(len(places))]]
            wording = WORDINGS["train"][rng.integers(len(WORDINGS["train"]))]
            name = "".join(rng.choice(SYLLABLES, 2))
            queries.append(Query(wording.format(people=people)))
            texts.append(f"{titles[rng.integers(len(titles))]} {sentence(places[rng.integers(len(places))], name)}")
            targets.append(name)
        return queries, texts, targets

    optimizer = torch.optim.AdamW(reader.model.parameters(), lr=0.0, weight_decay=0.0)
    reader.model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 5e-3 * min((step + 1) / 30, 1 - step / steps)
        read = reader.read(*draw(32))
        loss = -read.log_p.mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(reader.model.parameters(), 1.0)
        optimizer.step()
        if step % 25 == 0:
            print(f"  reading {step} {loss.item():.3f} {read.first_right_N.float().mean().item():.2f}", file=sys.stderr)
    reader.model.eval()
    queries, texts, targets = draw(256)
    said = reader.generate(queries, texts)
    return float(np.mean([text == target for (text, _), target in zip(said, targets, strict=True)]))


# --- the runs ------------------------------------------------------------------------------------------------------


def train_arm(arm: str, seed: int, world: Path, steps: int) -> Path:
    """One run of the recipe with the arm's changes; the folder of its checkpoint."""
    text = RECIPE.read_text(encoding="utf-8")
    changes = {**ARMS[arm], "seed = 0": f"seed = {seed}", "steps = 600": f"steps = {steps}"}
    for old, new in changes.items():
        if old not in text:
            raise ValueError(f"{RECIPE.name} has no line {old!r} to change")
        text = text.replace(old, new)
    text = text.replace("../runs/nonce-facts/seed-0", str(world)).replace("../flmr", str(HERE.parent / "flmr"))
    text = text.replace("../runs/nonce-facts/features", str(world.parent / "features"))
    path = world / f"{arm}.toml"
    path.write_text(text, encoding="utf-8")
    return train(path, out=world / arm, resume=True).folder


def measure(folder: Path, arm: str, world: Path) -> dict[str, float]:
    """Pseudo recall and answers of a checkpoint on the test questions, through an index of its own."""
    questions = list(read_questions(world / "questions.test.jsonl"))
    passages = list(read_passages(world / "passages.jsonl"))
    reader = load_reader(folder / "reader", device="cpu")
    if arm == "closed-book":
        hits: list[list[Hit]] = [[] for _ in questions]
    else:
        with Retriever.build(passages, world / f"{arm}.index", folder, nbits=0, overwrite=True) as retriever:
            hits = _search(retriever, questions)
    values: dict[str, float] = {"questions": len(questions)}
    values |= _answered(reader, questions, [found[:5] for found in hits])
    if arm != "closed-book":
        run = {q.id: [(hit.id, hit.score) for hit in found] for q, found in zip(questions, hits, strict=True)}
        texts = {passage.id: passage.full_text for passage in passages}
        answers = {question.id: question.answers for question in questions}
        for k in (1, 5, 10):
            values[f"pseudo_recall@{k}"] = float(np.mean([*pseudo_recall(run, answers, texts, k).values()]))
    return values


def _search(retriever: Retriever, questions: Sequence[Question]) -> list[list[Hit]]:
    found: list[list[Hit]] = []
    for start in range(0, len(questions), 64):
        found += retriever.search([question.query for question in questions[start : start + 64]], k=10)
    return found


def _answered(
    reader: TransformersReader, questions: Sequence[Question], hits: Sequence[Sequence[Hit]]
) -> dict[str, float]:
    answers = []
    for start in range(0, len(questions), 64):
        part = slice(start, start + 64)
        answers += reader.answers([question.query for question in questions[part]], hits[part])
    pairs = list(zip(answers, questions, strict=True))
    return {
        "exact_match": float(np.mean([exact_match(a.text, q.answers) for a, q in pairs])),
        "vqa_score": float(np.mean([vqa_score(a.text, q.answers) for a, q in pairs])),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """All seeds, one row an arm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--out", type=Path, default=Path("runs/nonce-facts"))
    parser.add_argument("--steps", type=int, default=600, help="of each run")
    parser.add_argument("--reading-steps", type=int, default=1500, help="of the reader before them")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    place = birthplace(shlex.join(["python", "-m", "benchmarks.nonce_facts", *(arguments or sys.argv[1:])]))
    for seed in given.seeds:
        world = (given.out / f"seed-{seed}").resolve()
        if not (world / "reader" / "reader.json").exists():
            began = time.process_time()
            write_pictures(given.out / "images")
            write_world(world, seed)
            reader = new_reader(world, seed)
            right = teach_reading(reader, world, seed, given.reading_steps)
            reader.save(world / "reader")
            print(f"seed {seed}: reader names {right:.3f}, {time.process_time() - began:.0f} s", file=sys.stderr)
        for arm in given.arms:
            began = time.process_time()
            values = measure(train_arm(arm, seed, world, given.steps), arm, world)
            row = {**dataclasses.asdict(place), "seed": seed, "arm": arm, "steps": given.steps}
            row |= {name: round(value, 4) for name, value in values.items()}
            row |= {"cpu_s": round(time.process_time() - began)}
            with given.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
