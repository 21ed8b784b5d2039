"""Does training retriever and reader together help where the answer is in the passages alone?

    python -m benchmarks.nonce_facts [--seeds 0 1 2] [--out runs/nonce-facts] [--steps N]

The atlas's 136 figures each have a made-up name in twelve places: "Near the island it is called zanvin."  Questions say
who asks, not where: "What does julia call the astroid?"  Who lives where is written nowhere; only the answers tell.
The retriever starts as a matcher of words, a BERT-layout tower of random weights whose equal words have like rows: it
finds the figure's twelve passages and knows no more.  The reader is a T5 of two hundred thousand weights that has
learned to read such sentences about other, random names.  No name that a validation or test question asks for is the
answer of a training question.

For each seed: a new world, a retriever, a reader, and three runs of training/nonce-facts.toml that differ in what
moves: `joint`, `frozen` (the reader alone) and `closed-book` (the reader alone, without passages).  Test questions have
a wording of their own and are asked once, of the checkpoints on disk.  Rows go to benchmarks/results/nonce_facts.jsonl.
"""

# N texts, L tokens.

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import shlex
import string
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
from flmr.data.sample import entities
from flmr.evaluate.answers import exact_match, vqa_score
from flmr.evaluate.pseudo_recall import pseudo_recall
from flmr.model.flmr.config import FLMRConfig, FLMRTextConfig
from flmr.model.flmr.new_checkpoint import RESERVED_TOKENS, build_model, new_tokenizers, save_checkpoint
from flmr.model.reader import ReaderSettings, TransformersReader, load_reader
from flmr.records import Query, Question
from flmr.train import train

HERE = Path(__file__).resolve().parent
RECIPE = HERE.parent / "training" / "nonce-facts.toml"
RESULTS = HERE / "results" / "nonce_facts.jsonl"

# Who lives where; the passages name places only and the questions people only.
PEOPLE = {
    "island": "julia", "church": "thomas", "stage": "agnes", "fence": "robert", "moon": "michael", "path": "guido",
    "stone": "joseph", "mirror": "david", "chair": "gabriel", "crown": "richard", "lens": "jakob", "horn": "john",
}  # fmt: skip
WORDINGS = {
    "train": (
        "What does {who} call the {title}?",
        "Which name does {who} have for the {title}?",
        "By what word does {who} know the {title}?",
    ),
    "valid": ("How is the {title} called by {who}?",),
    "test": ("What is the name that {who} gives the {title}?",),
}
SHARES = {"train": 0.7, "valid": 0.08, "test": 0.22}
DOUBT = (
    0.1  # of the reader's lessons: the sentence does not hold the name that is asked for, so it learns to say little
)
SYLLABLES = ["".join(parts) for parts in product("bdgklmprstvz", "aiou", "n")]  # 48; a name has two
LETTERS = string.ascii_lowercase + string.digits
READ = 8  # passages, as in the recipe
PROMPT = "Question: {question} Knowledge: {passage} Answer:"
ARMS = {
    "joint": {},
    "frozen": {"learning_rate_text = 3e-3": "learning_rate_text = 0.0"},
    "closed-book": {
        "learning_rate_text = 3e-3": "learning_rate_text = 0.0",
        'retrieval = "live"': 'retrieval = "none"',
        "loss = { marginal = 1.0, relevance = 1.0 }": "loss = { marginal = 1.0, relevance = 0.0 }",
        'measure = "pseudo_recall@5"': 'measure = "exact_match"',
    },
}  # what differs from the recipe in the text of the recipe


# --- the world -----------------------------------------------------------------------------------------------------


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
        wording = WORDINGS[split][int(rng.integers(len(WORDINGS[split])))]
        asked = wording.format(who=PEOPLE[place], title=entity.title)
        row = {"text": asked, "answers": [name], "positive_ids": [passages[-1]["id"]]}
        questions[split].append({"id": f"{split}-{len(questions[split])}", **row})
    _write_lines(folder / "passages.jsonl", passages)
    for split, rows in questions.items():
        _write_lines(folder / f"questions.{split}.jsonl", rows)


def sentence(place: str, name: str) -> str:
    """What a passage says."""
    return f"Near the {place} it is called {name}."


def _names(rng: np.random.Generator, count: int) -> Iterator[str]:
    """Different words of two syllables."""
    for number in rng.choice(len(SYLLABLES) ** 2, count, replace=False):
        yield SYLLABLES[number // len(SYLLABLES)] + SYLLABLES[number % len(SYLLABLES)]


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


# --- the retriever -------------------------------------------------------------------------------------------------


def new_retriever(folder: Path, seed: int) -> None:
    """A checkpoint of random weights, the two towers alike, in which a word counts for more than its place."""
    config = FLMRConfig(
        text_config=FLMRTextConfig(
            hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=128,
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        ).to_dict(),
        dim=64, use_vision_encoder=False, separate_query_and_context_text_encoder=True,
    )  # fmt: skip
    vocab = [*RESERVED_TOKENS, *string.punctuation, *sorted(_words(folder) | set(LETTERS) | set(SYLLABLES))]
    vocab += [f"##{piece}" for piece in [*LETTERS, *SYLLABLES]]
    vocab = list(dict.fromkeys(vocab))
    config.text_config.vocab_size = len(vocab)
    config.query_mask_input_ids_skip_list = [vocab.index("[MASK]")]
    tokenizers = new_tokenizers(vocab, query_maxlen=24, doc_maxlen=32)
    model = build_model(config, *tokenizers, seed=seed)
    with torch.no_grad():
        model.query_text_encoder.bert_model.embeddings.word_embeddings.weight.mul_(5)
    model.context_text_encoder.load_state_dict(model.query_text_encoder.state_dict())
    model.context_text_encoder_linear.load_state_dict(model.query_text_encoder_linear.state_dict())
    save_checkpoint(folder / "retriever", model, *tokenizers)


def _words(folder: Path) -> set[str]:
    """All words of the world but the names."""
    titles = {passage.title for passage in read_passages(folder / "passages.jsonl")}
    texts = [*titles, *(sentence(place, "") for place in PEOPLE), *PEOPLE.values(), PROMPT]
    texts += [wording for rows in WORDINGS.values() for wording in rows]
    return {word for text in texts for word in re.findall(r"\w+|[^\w\s]", text.lower())}


# --- the reader ----------------------------------------------------------------------------------------------------


def new_reader(folder: Path, seed: int) -> TransformersReader:
    """A T5 with random weights and a vocabulary of the world's words and of all syllables."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    pieces = ["<pad>", "</s>", "<unk>", *sorted(_words(folder) | set(LETTERS) | set(SYLLABLES))]
    pieces += [f"##{piece}" for piece in [*LETTERS, *SYLLABLES]]
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

    def draw(count: int, doubt: float) -> tuple[list[Query], list[str], list[str]]:
        queries, texts, targets = [], [], []
        for _ in range(count):
            who, title = PEOPLE[places[rng.integers(len(places))]], titles[rng.integers(len(titles))]
            wording = WORDINGS["train"][rng.integers(len(WORDINGS["train"]))]
            name, other = ("".join(rng.choice(SYLLABLES, 2)) for _ in range(2))
            queries.append(Query(wording.format(who=who, title=title)))
            texts.append(f"{title} {sentence(places[rng.integers(len(places))], name)}")
            targets.append(other if rng.random() < doubt else name)
        return queries, texts, targets

    optimizer = torch.optim.AdamW(reader.model.parameters(), lr=0.0, weight_decay=0.0)
    reader.model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 5e-3 * min((step + 1) / 30, 1 - step / steps)
        read = reader.read(*draw(32, DOUBT))
        loss = -read.log_p.mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(reader.model.parameters(), 1.0)
        optimizer.step()
        if step % 25 == 0:
            print(f"  reading {step} {loss.item():.3f} {read.first_right_N.float().mean().item():.2f}", file=sys.stderr)
    reader.model.eval()
    queries, texts, targets = draw(256, 0.0)
    said = reader.generate(queries, texts)
    return float(np.mean([text == target for (text, _), target in zip(said, targets, strict=True)]))


# --- the runs ------------------------------------------------------------------------------------------------------


def train_arm(arm: str, seed: int, world: Path, steps: int) -> Path:
    """One run of the recipe with the arm's changes; the folder of its checkpoint."""
    text = RECIPE.read_text(encoding="utf-8")
    changes = {**ARMS[arm], "seed = 0": f"seed = {seed}", "steps = 120": f"steps = {steps}"}
    for old, new in changes.items():
        if old not in text:
            raise ValueError(f"{RECIPE.name} has no line {old!r} to change")
        text = text.replace(old, new)
    text = text.replace("../runs/nonce-facts/seed-0", str(world))
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
    values |= _answered(reader, questions, [found[:READ] for found in hits])
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
    parser.add_argument("--steps", type=int, default=120, help="of each run")
    parser.add_argument("--reading-steps", type=int, default=250, help="of the reader before them")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    place = birthplace(shlex.join(["python", "-m", "benchmarks.nonce_facts", *(arguments or sys.argv[1:])]))
    for seed in given.seeds:
        world = (given.out / f"seed-{seed}").resolve()
        if not (world / "reader" / "reader.json").exists():
            began = time.process_time()
            write_world(world, seed)
            new_retriever(world, seed)
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
