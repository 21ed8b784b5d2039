"""Training from a recipe to a checkpoint folder: stages, steps, validation, resuming.

Knows the order of things.  A step is a pure function of the weights, the optimiser's state and (seed, stage, step): a
run that was killed and resumed goes the way of one that was not, bit for bit on one machine with as many threads.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from flmr.errors import InvalidInput, InvalidRecipe, TrainingDiverged
from flmr.model.encoder import find_device
from flmr.model.flmr.checkpoint import canonical_name, canonical_state
from flmr.model.flmr.new_checkpoint import save_checkpoint
from flmr.progress import Report, reporting
from flmr.train.average import Average
from flmr.train.build import sees_passages, start_model
from flmr.train.contrastive import Autocast, StepResult, contrastive_step
from flmr.train.curve import draw_curve, require_matplotlib
from flmr.train.dataset import TrainingData, choose_candidates, load_data
from flmr.train.joint import READER, Joint, JointStep, passages_move
from flmr.train.optimizer import make_optimizer, moving_parameters, set_learning_rates
from flmr.train.ranks import Ranks, joined_ranks
from flmr.train.recipe import TrainingRecipe, TrainRecipe, load_training_recipe
from flmr.train.seeds import mixed_seed, seeded
from flmr.train.stage import Prepared, ReadyStage, prepare, ready_stage
from flmr.train.state import FEATURES, RunFolder
from flmr.train.validation import Validation, validate

CURVE = "curve.png"


@dataclass(frozen=True)
class TrainResult:
    """What a run ended with.

    folder: the checkpoint.  steps: optimiser steps of all stages.  best: the chosen value of `measure` on validation
    and the step it was reached at, None without validation.  left_out: what the files held and was not used, by reason.
    """

    folder: Path
    steps: int
    loss: float
    seconds: float
    measure: str | None
    best: float | None
    best_step: int | None
    values: dict[str, float]
    left_out: dict[str, int]


def train(
    recipe_path: str | Path,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool | Callable[[str, int, int | None], None] = True,
) -> TrainResult:
    """Train what a recipe says and write the checkpoint, the recipe, the metrics and the loss curve to one folder.

    out: the folder, by default `runs/NAME` in the working directory for a recipe NAME.toml.  resume: go on with a run
    that was stopped, from its last saved state, or from the beginning; a finished one returns at once.
    progress: a bar on stderr, or a function (stage, done, total).
    Where a launcher has started several processes each takes its share of every batch; the folder must be one that all
    of them see, and only the first one writes to it and reports.
    Raises InvalidRecipe, AlreadyExists, MissingExtra, StorageError, TrainingDiverged and what the readers raise.
    """
    recipe_path = Path(recipe_path)
    recipe = load_training_recipe(recipe_path)
    require_matplotlib()
    with contextlib.ExitStack() as stack:
        ranks = stack.enter_context(joined_ranks(choose_device(recipe.device)))
        folder = RunFolder(Path(out) if out is not None else Path("runs") / recipe_path.stem, writes=ranks.is_first)
        tick = stack.enter_context(reporting(progress if ranks.is_first else False))
        stack.enter_context(contextlib.closing(folder))
        state = ranks.first(lambda: folder.open(recipe_path, recipe, resume=resume))
        finished = folder.read_result()
        if finished is not None:
            return TrainResult(**{**finished, "folder": folder.path})
        return _Run(recipe, folder, tick, state, ranks).go(title=recipe_path.stem)


class _Run:
    """One run from its first or resumed step to its checkpoint."""

    def __init__(
        self, recipe: TrainingRecipe, folder: RunFolder, tick: Report, state: dict[str, Any] | None, ranks: Ranks
    ) -> None:
        self.recipe, self.folder, self.tick, self.ranks = recipe, folder, tick, ranks
        self.device = ranks.device
        self.data: TrainingData = load_data(
            recipe.data,
            recipe.evaluate,
            seed=recipe.seed,
            tick=tick,
            by_answers=recipe.joint is not None,
            passage_pictures=sees_passages(recipe.model),
        )
        model, *tokenizers = start_model(recipe.model, self.data, seed=recipe.seed)
        self.model, self.tokenizers = model.to(self.device), (tokenizers[0], tokenizers[1])
        self.prepared: Prepared = prepare(self.model, self.tokenizers, self.data, recipe)
        self.candidates = choose_candidates(self.data, recipe.evaluate.passages, seed=recipe.seed)
        self.joint: Joint | None = None
        if recipe.joint is not None:
            _check_joint(self.model, recipe, ranks)
            self.joint = Joint(recipe, self.data, self.model, self.tokenizers, folder.path)
        self.resumed = state
        self.average: Average | None = None
        self.stage_number, self.total_step, self.seconds = 0, 0, 0.0
        self.best: dict[str, Any] | None = None
        self.moved: set[str] = set()  # weights that a stage has moved; all others are where the run started
        if state is not None:
            self.stage_number, self.total_step = state["stage"], state["total_step"]
            self.seconds, self.best, self.moved = state["seconds"], state["best"], set(state["moved"])
            self._load_weights(state["weights"])
        if self.joint is not None:
            self.joint.open(state["index"] if state is not None else None, tick)

    def go(self, *, title: str) -> TrainResult:
        stages = self.recipe.stages()
        for number in range(self.stage_number, len(stages)):
            self.stage_number = number
            self._train_stage(stages[number])
            self._hand_on(stages[number])
        return self._finish(title)

    def _train_stage(self, stage: TrainRecipe) -> None:
        if self.joint is None:
            moving = moving_parameters(self.model, stage)
        else:
            resting = "(?!)" if self.joint.recipe.move_passages else "context_"
            moving = moving_parameters(self.model, stage, resting=resting) | self.joint.moving(stage)
        _check_ranks(self.model, stage, self.ranks)
        optimizer = make_optimizer(moving, stage)
        names = [name for named in moving.values() for name, _ in named]
        self.moved |= {canonical_name(name, self.model.config) or name for name in names}
        self.average = (
            Average(dict(pair for named in moving.values() for pair in named), stage.ema) if stage.ema else None
        )
        (self.model.gradient_checkpointing_enable if stage.recompute else self.model.gradient_checkpointing_disable)()
        first = 0
        if self.resumed is not None:
            optimizer.load_state_dict(self.resumed["optimizer"])
            if self.average is not None:
                self.average.load(self.resumed["average"])
            first, self.resumed = self.resumed["step"], None
        else:
            self.best = None
        seed = mixed_seed(self.recipe.seed, self.stage_number)
        features = self.recipe.features or self.folder.path / FEATURES
        with ready_stage(
            self.prepared, self.data, stage, self.recipe, seed=seed, folder=features, tick=self.tick, ranks=self.ranks
        ) as ready:
            if first == 0 and stage.evaluate_every:
                self._validate(ready, stage, 0)
            for step in range(first, ready.steps):
                self._step(ready, stage, optimizer, step)
                done = step + 1
                if stage.evaluate_every and (done % stage.evaluate_every == 0 or done == ready.steps):
                    self._validate(ready, stage, done)
                    if self._gives_up(stage):
                        break
                if done % stage.save_every == 0 and done < ready.steps:
                    self._save(optimizer, done)
            if self.average is not None:
                self.average.take_over()

    def _step(self, ready: ReadyStage, stage: TrainRecipe, optimizer: torch.optim.Optimizer, step: int) -> None:
        began = time.perf_counter()
        if self.joint is not None and self._is_refresh(stage, step):
            self.joint.refresh(self.total_step)
        ready.set_modes(self.model, training=True)
        rate = set_learning_rates(optimizer, stage, step, ready.steps)
        optimizer.zero_grad(set_to_none=True)
        forward = partial(autocast, stage.precision, self.device)
        results = []
        for number in range(step * stage.accumulate, (step + 1) * stage.accumulate):
            seed = mixed_seed(ready.seed, number, *([self.ranks.rank] if self.ranks.rank else []))
            with seeded(seed, self.device):
                results.append(self._gradient(ready, stage, number, forward))
        loss = sum(result.loss for result in results) / len(results)
        weights = [p for group in optimizer.param_groups for p in group["params"]]
        for weight in weights if len(results) > 1 else ():
            if weight.grad is not None:
                weight.grad /= len(results)
        self.ranks.add_up_gradients(weights)
        norm = torch.nn.utils.clip_grad_norm_(weights, stage.clip_norm or math.inf).item()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingDiverged(
                f"step {step + 1} of stage {stage.name!r}: the loss is {loss} and its gradient's norm {norm};"
                " lower the learning rate, set clip_norm, or train in float32 (precision)"
            )
        optimizer.step()
        if self.average is not None:
            self.average.update()
        self.total_step += 1
        seconds = time.perf_counter() - began
        self.seconds += seconds
        self.folder.write_metrics(
            {
                "total_step": self.total_step,
                "stage": stage.name,
                "step": step + 1,
                "loss": loss,
                **{name: sum(result.facts[name] for result in results) / len(results) for name in results[0].facts},
                "learning_rate": rate,
                "grad_norm": norm,
                "passages": sum(result.num_passages for result in results),
                "seconds": round(seconds, 4),
            }
        )
        self.tick(f"training {stage.name}", step + 1, ready.steps)

    def _gradient(
        self, ready: ReadyStage, stage: TrainRecipe, number: int, forward: Autocast
    ) -> StepResult | JointStep:
        """Add the gradient of one batch, the number-th of the stage, to the weights."""
        if self.joint is not None:
            return self.joint.step(ready, stage, number, forward)
        return contrastive_step(ready.queries, ready.passages, *ready.deal(number), stage, self.ranks, forward)

    def _validate(self, ready: ReadyStage, stage: TrainRecipe, step: int) -> None:
        with self.average.in_place() if self.average is not None else contextlib.nullcontext():
            self._validate_weights(ready, stage, step)

    def _validate_weights(self, ready: ReadyStage, stage: TrainRecipe, step: int) -> None:
        assert ready.valid_queries is not None and self.data.valid is not None
        began = time.perf_counter()
        ready.set_modes(self.model, training=False)
        value, values = self.ranks.of_first(partial(self._measure, ready))
        seconds = time.perf_counter() - began
        self.seconds += seconds
        self.folder.write_metrics(
            {
                "total_step": self.total_step,
                "stage": stage.name,
                "step": step,
                "measure": self.recipe.evaluate.measure,
                "value": value,
                "values": {name: round(each, 5) for name, each in values.items()},
                "seconds": round(seconds, 2),
            }
        )
        if self.best is None or value > self.best["value"]:
            weights = {name: tensor.detach().cpu().clone() for name, tensor in self._weights().items()}
            self.best = {"value": value, "total_step": self.total_step, "values": values, "weights": weights}

    def _gives_up(self, stage: TrainRecipe) -> bool:
        """Whether so many validations as the stage is patient for have passed since the best one."""
        assert self.best is not None
        since = self.total_step - self.best["total_step"]
        return bool(stage.patience) and since >= stage.patience * stage.evaluate_every

    def _measure(self, ready: ReadyStage) -> tuple[float, dict[str, float]]:
        """The value that chooses, and all of them."""
        recipe, valid = self.recipe.evaluate, self.data.valid
        assert ready.valid_queries is not None and valid is not None
        if self.joint is not None:
            if self.joint.recipe.refresh_every:
                self.joint.refresh(self.total_step)
            values = self.joint.validate(ready.valid_queries, valid, recipe.ks, self.tick)
            return values[recipe.measure], values
        result: Validation = validate(
            ready.valid_queries,
            ready.passages,
            valid,
            self.data.passages,
            self.candidates,
            self.data.corpora,
            recipe,
            self.recipe.measure_of,
            self.tick,
        )
        return result.value, result.values()

    def _is_refresh(self, stage: TrainRecipe, step: int) -> bool:
        every = self.recipe.joint.refresh_every if self.recipe.joint is not None else 0
        return bool(every and step and step % every == 0)

    def _weights(self) -> dict[str, torch.Tensor]:
        """The weights that a stage has moved, by canonical name."""
        state = canonical_state(self.model, self.model.config)
        state |= self.joint.weights() if self.joint is not None else {}
        return {name: tensor for name, tensor in state.items() if name in self.moved}

    def _load_weights(self, weights: dict[str, torch.Tensor]) -> None:
        own = canonical_state(self.model, self.model.config)
        own |= self.joint.weights() if self.joint is not None else {}
        with torch.no_grad():
            for name, tensor in weights.items():
                own[name].copy_(tensor)

    def _save(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        self.folder.save_state(
            {
                "stage": self.stage_number,
                "step": step,
                "total_step": self.total_step,
                "seconds": self.seconds,
                "moved": sorted(self.moved),
                "weights": self._weights(),
                "optimizer": optimizer.state_dict(),
                "average": self.average.state() if self.average is not None else None,
                "best": self.best,
                "index": self.joint.built_at if self.joint is not None else None,
            }
        )
        if self.joint is not None:
            self.joint.forget()

    def _hand_on(self, stage: TrainRecipe) -> None:
        if stage.choose == "best" and self.best is not None:
            self._load_weights(self.best["weights"])

    def _finish(self, title: str) -> TrainResult:
        return self.ranks.of_first(lambda: self._write_checkpoint(title))

    def _write_checkpoint(self, title: str) -> TrainResult:
        rows = self.folder.read_metrics()
        self.model.eval()
        save_checkpoint(self.folder.path, self.model, *self.tokenizers)
        if self.joint is not None:
            self.joint.reader.save(self.folder.path / READER)
            self.joint.close()
        draw_curve(rows, self.folder.path / CURVE, title=title)
        losses = [row["loss"] for row in rows if "loss" in row]
        result = TrainResult(
            folder=self.folder.path,
            steps=self.total_step,
            loss=losses[-1],
            seconds=round(self.seconds, 1),
            measure=self.recipe.evaluate.measure if self.best else None,
            best=self.best["value"] if self.best else None,
            best_step=self.best["total_step"] if self.best else None,
            values=self.best["values"] if self.best else {},
            left_out=dict(self.data.left_out.counts),
        )
        self.folder.finish({**result.__dict__, "folder": str(self.folder.path)})
        return result


def _check_ranks(model: Any, stage: TrainRecipe, ranks: Ranks) -> None:
    normalises = any(hasattr(layer, "momentum") for layer in model.modules())
    if ranks.world > 1 and stage.learning_rate_vision and model.config.use_vision_encoder and normalises:
        raise InvalidRecipe(
            f"stage {stage.name!r} moves a vision tower with batch normalisation, whose averages each of"
            f" {ranks.world} processes would keep for itself; set learning_rate_vision = 0, or train in one process"
        )


def _check_joint(model: Any, recipe: TrainingRecipe, ranks: Ranks) -> None:
    assert recipe.joint is not None
    if ranks.world > 1:
        raise InvalidRecipe("[joint] trains in one process; start it without a launcher")
    for stage in recipe.stages():
        if passages_move(model, stage, recipe.joint.move_passages) and not recipe.joint.refresh_every:
            raise InvalidRecipe(
                f"stage {stage.name!r} changes how passages are encoded; set [joint] refresh_every, the steps after"
                " which they are indexed anew"
            )


def choose_device(name: str) -> torch.device:
    """The device of a recipe; "auto" is a GPU where there is one.  Raises InvalidRecipe."""
    try:
        return find_device(None if name == "auto" else name)
    except InvalidInput as error:
        raise InvalidRecipe(str(error)) from None


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """bfloat16 where it is asked for, or, with "auto", where the hardware computes in it."""
    wanted = precision == "bfloat16" or (precision == "auto" and has_bfloat16(device))
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted)


def has_bfloat16(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 are faster than in float32 here: CUDA from Ampere on, AVX512_BF16, AMX."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported()) if device.type == "cpu" else False
