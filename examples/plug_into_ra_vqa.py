"""A retriever inside a training loop of one's own, in plain PyTorch: `python examples/plug_into_ra_vqa.py [ENCODER]`.

Six hooks: `query` (differentiable), `search` (ids), `passage_rows` (by id), `score` (differentiable), `texts` (by id),
and `read_static_results` where retrieval was done before.  The reader here is a small T5 that starts from nothing.
"""

import sys

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

import flmr
from flmr.data.sample import passages, render
from flmr.model.reader import TransformersReader
from flmr.train import RetrieverHooks
from flmr.train.losses import marginal_loss, pseudo_relevance_loss

K, STEPS = 4, 3
corpus = [passage for passage in passages() if passage.meta["entity"] in {"astroid", "cardioid", "deltoid", "nephroid"}]
questions = [
    flmr.Query(f"Question {i}: how many cusps does the figure have?", image=render(name, seed=i, style="ink", size=96))
    for i, name in enumerate(("astroid", "deltoid"))
]
answers = ["four", "three"]

texts = [passage.full_text for passage in corpus]
vocabulary = Tokenizer(models.BPE(unk_token="<unk>"))
vocabulary.pre_tokenizer = pre_tokenizers.Whitespace()
special = ["<pad>", "</s>", "<unk>"]
vocabulary.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False))
tokenizer = PreTrainedTokenizerFast(tokenizer_object=vocabulary, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
sizes = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 0}
reader = TransformersReader(T5ForConditionalGeneration(T5Config(vocab_size=len(tokenizer), **sizes)), tokenizer)

encoder = flmr.load_encoder(sys.argv[1] if len(sys.argv) > 1 else "bundled")
with RetrieverHooks.build(corpus, "figures.index", encoder, overwrite=True) as retriever:
    weights = [*retriever.model.query_text_encoder.parameters(), *reader.model.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=1e-4)
    for step in range(STEPS):
        rows, mask = retriever.query(questions)
        ids = [[hit.id for hit in hits] for hits in retriever.search(rows, mask, K)]
        scores = retriever.score(rows, mask, *retriever.passage_rows(ids))
        found = retriever.texts(ids)
        flat = [(q, text, a) for q, a, read in zip(questions, answers, found, strict=True) for text in read]
        read = reader.read(*map(list, zip(*flat, strict=True)))
        holds = torch.tensor([[a in text for text in own] for a, own in zip(answers, found, strict=True)])
        right = read.first_right_N.reshape(scores.shape)
        loss = marginal_loss(scores, read.log_p.reshape(scores.shape)) + pseudo_relevance_loss(scores, right, holds)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(
            f"step {step}: loss {loss.item():.3f}, an answer in {holds.any(1).float().mean().item():.0%} of the lists"
        )
    retriever.refresh()  # only where the passages' side moves too
