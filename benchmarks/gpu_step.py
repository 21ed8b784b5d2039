"""A training step of PreFLMR end to end, at the sizes of ViT-L and with random weights: MaxSim's share of it, and how
large a batch fits.

Knows the sizes and what stands in for data: random ids and pixels.  The step is the package's own (flmr.train); the
vision tower does not move, as published, but sees its pictures in every step.  For plain torch the step's `maxsim` is
replaced by the formula.
"""

# B questions, N passages, Lq and Ld rows, D dim, S pixels to a side.

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu_clock import free_memory, out_of_memory, peak_memory
from benchmarks.gpu_engines import PLAIN, choose_path
from benchmarks.gpu_exact import shape_text
from benchmarks.gpu_rows import OURS, Row, spread_ms
from benchmarks.gpu_run import Run, reason_of
from benchmarks.search_rows import digits
from flmr import __version__
from flmr.model.flmr import FLMRConfig, FLMRTextConfig, FLMRVisionConfig
from flmr.model.flmr.new_checkpoint import build_model
from flmr.ops.maxsim import maxsim
from flmr.train import contrastive
from flmr.train.encode import PassageSide, QuerySide, TokenizedTexts
from flmr.train.loop import autocast
from flmr.train.optimizer import make_optimizer, moving_parameters, set_learning_rates
from flmr.train.pictures import Sight, SplitTower
from flmr.train.ranks import Ranks
from flmr.train.recipe import TrainRecipe
from flmr.train.sampler import Batch

WORK = "PreFLMR ViT-L step"
BATCH, CHUNK, STEPS = 64, 32, 5
SLOWEST_S = 10.0  # no larger batch is tried where a step takes this long
MaxSim = Callable[..., Tensor]


def vit_l(tiny: bool) -> FLMRConfig:
    """PreFLMR with ViT-L/14: questions of 32 rows of text, 32 of the picture and 256 of its patches."""
    text: dict[str, int] = {}
    vision = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24}
    vision |= {"patch_size": 14, "image_size": 224}
    base: Any = "bert-base-uncased"
    if tiny:
        base = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 32}
        text = {**base, "num_hidden_layers": 1}
        vision = {**text, "patch_size": 8, "image_size": 32}
    return FLMRConfig(
        text_config=FLMRTextConfig(**text).to_dict(),
        vision_config=FLMRVisionConfig(**vision).to_dict(),
        dim=16 if tiny else 128,
        separate_query_and_context_text_encoder=True,
        use_transformer_mapping_network=True,
        transformer_mapping_config_base=base,
        transformer_mapping_num_hidden_layers=1,
        mask_punctuation=False,  # the ids are random: none is a punctuation mark's
    )


@dataclass(frozen=True)
class RandomPictures:
    """Pictures of noise, one view of each."""

    side: int
    device: torch.device
    views: int = 1

    def pixels(self, rows: Sequence[int], views: Sequence[int]) -> Tensor:
        """(B, 3, S, S)."""
        del views
        return torch.randn((len(rows), 3, self.side, self.side), device=self.device)


class Stepper:
    """A model with random weights that takes steps of any batch: each question with its passage and one more."""

    def __init__(self, device: torch.device, *, tiny: bool) -> None:
        self.device = device
        self.question_rows, self.passage_rows = (6, 9) if tiny else (32, 512)
        self.recipe = TrainRecipe(learning_rate_text=1e-6, learning_rate_mapping=1e-5, learning_rate_linear=1e-6)
        self.model = build_model(vit_l(tiny)).to(device)
        self.model.train()
        self.model.query_vision_encoder.eval()
        self.optimizer = make_optimizer(moving_parameters(self.model, self.recipe), self.recipe)
        set_learning_rates(self.optimizer, self.recipe, 0, 1)
        pictures: Any = RandomPictures(self.model.config.vision_config.image_size, device)
        self.sight = Sight(pictures, SplitTower(self.model.query_vision_encoder, 0))

    def take(self, batch: int, chunk: int) -> float:
        """One whole step; its loss."""
        questions, passages = _texts(batch, self.question_rows), _texts(2 * batch, self.passage_rows)
        asking = QuerySide(self.model, questions, [(row,) for row in range(batch)], self.sight)
        answers = PassageSide(self.model, passages)
        recipe = replace(self.recipe, batch_size=batch, chunk=chunk)
        self.optimizer.zero_grad(set_to_none=True)
        views, ranks = np.zeros(batch, np.int64), Ranks(self.device)
        result = contrastive.contrastive_step(asking, answers, _batch(batch), views, recipe, ranks, self.autocast)
        self.optimizer.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return result.loss

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """What forward passes run under."""
        return autocast("auto", self.device)


def step(run: Run) -> None:
    """Seconds and memory of a step with each MaxSim, the share of ours, and the largest batch that fits."""
    if not run.wanted(WORK):
        return
    paths: dict[str, tuple[str, MaxSim]] = {OURS + path: (__version__, _on(path)) for path in run.paths}
    paths[PLAIN] = (torch.__version__, plain_maxsim)
    stepper = Stepper(run.device, tiny=run.tiny)
    batch = 4 if run.tiny else BATCH
    for name, (version, function) in paths.items():
        if run.begins(WORK, name):
            _measured(run, stepper, batch, Row(WORK, name, "", version), function)
    for name in (OURS + run.paths[0], PLAIN):
        if run.begins(WORK, f"{name}, largest batch"):
            version, function = paths[name]
            largest, note = largest_batch(run, stepper, function)
            counts = {"repeats": 1, "median": largest, "least": largest, "most": largest}
            run.row(Row(WORK, name, "questions", version, _type(run), **counts, note=note))
    run.done(WORK)


def _measured(run: Run, stepper: Stepper, batch: int, row: Row, function: MaxSim) -> None:
    calls: list[tuple[tuple[Tensor, ...], dict[str, Tensor]]] = []
    try:
        with scoring(_recorded(function, calls)):
            stepper.take(batch, 0)
        with scoring(function):
            _, memory = peak_memory(run.device, partial(stepper.take, batch, 0))
            seconds = [_timed(stepper, batch, 0) for _ in range(2 if run.tiny else STEPS)]
    except Exception as problem:  # memory, or what a path raises
        run.row(replace(row, note=reason_of(problem, run.device)))
        return
    shape = f"{batch} questions, {2 * batch} passages: " + shape_text(*(of.shape for of in calls[0][0]))
    row = replace(row, dtype=_type(run), shape=shape)
    memory_mb = "" if memory is None else digits(memory / 1e6)
    run.row(replace(row, memory_mb=memory_mb, **spread_ms(seconds)))
    alone = run.timer.calls([partial(_again, stepper, function, calls)], 2 if run.tiny else 10)
    shares = [second / statistics.median(seconds) for second in alone]
    counts = {"median": statistics.median(shares), "least": min(shares), "most": max(shares)}
    counts = {name: digits(value) for name, value in counts.items()}
    run.row(replace(row, unit="share", repeats=len(shares), **counts, note="of the step is MaxSim"))


def largest_batch(run: Run, stepper: Stepper, function: MaxSim) -> tuple[int, str]:
    """Questions of the largest step that fits, to an eighth, encoded 32 at a time; and what kept from trying more."""
    fits, fails = 0, 0
    size = 4 if run.tiny else BATCH
    while True:
        free_memory(run.device)
        try:
            with scoring(function):
                seconds = _timed(stepper, size, 2 if run.tiny else CHUNK)
            fits = size
        except Exception as problem:
            if not out_of_memory(problem):
                return fits, reason_of(problem, run.device)
            fails, seconds = size, 0.0
        if time.monotonic() > run.until:
            return fits, "at least: time ran out"
        if not fails and (seconds > SLOWEST_S or (run.tiny and fits >= 8)):
            return fits, f"at least: its step took {seconds:.1f} s, no larger one was tried"
        size = 2 * fits if not fails else (fits + fails) // 2
        if fails and fails - fits <= max(1, fits // 8):
            return fits, ""


@contextlib.contextmanager
def scoring(function: MaxSim) -> Iterator[None]:
    """Let the step score with another function."""
    before = contrastive.maxsim
    contrastive.maxsim = function
    try:
        yield
    finally:
        contrastive.maxsim = before


def plain_maxsim(queries: Tensor, documents: Tensor, *, query_mask: Tensor, document_mask: Tensor) -> Tensor:
    """The formula, all similarities at once; masked in place, which is the least memory that it can do with."""
    similarities = torch.einsum("bqd,nkd->bnqk", queries, documents)
    similarities.masked_fill_(~document_mask[None, :, None, :], -torch.inf)
    return similarities.amax(-1).float().masked_fill(~query_mask[:, None, :], 0).sum(-1)


def _on(path: str) -> MaxSim:
    def function(*args: Any, **kwargs: Any) -> Tensor:
        choose_path(path)
        return maxsim(*args, **kwargs)

    return function


def _recorded(function: MaxSim, calls: list[Any]) -> MaxSim:
    """The function, and what it was called with on random rows of the same shapes and types."""

    def recorded(*rows: Tensor, **masks: Tensor) -> Tensor:
        calls.append((tuple(torch.randn_like(of).requires_grad_() for of in rows), masks))
        return function(*rows, **masks)

    return recorded


def _again(stepper: Stepper, function: MaxSim, calls: list[Any]) -> None:
    """The MaxSim of a step alone, forward and backward."""
    for rows, masks in calls:
        with stepper.autocast():
            scores = function(*rows, **masks)
        torch.autograd.grad(scores, rows, torch.ones_like(scores))


def _timed(stepper: Stepper, batch: int, chunk: int) -> float:
    start = time.perf_counter()
    stepper.take(batch, chunk)
    return time.perf_counter() - start


def _texts(count: int, length: int) -> TokenizedTexts:
    ids = torch.randint(999, 30_000, (count, length), generator=torch.Generator().manual_seed(count))
    return TokenizedTexts(ids, torch.ones_like(ids), np.full(count, length))


def _batch(B: int) -> Batch:
    nothing = np.zeros((B, 2 * B), np.int64)
    false = np.zeros((B, 2 * B), bool)
    labels = 2 * np.arange(B)
    return Batch(np.arange(B), np.arange(2 * B), labels, false, nothing, false, nothing.astype(np.float32))


def _type(run: Run) -> str:
    return "bfloat16" if run.device.type == "cuda" else "float32"
