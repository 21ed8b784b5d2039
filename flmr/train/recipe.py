"""What a training recipe says: the model, the data, the pictures' augmentation, the steps, the validation.

Knows every key, its default and its range; `flmr.recipe` turns TOML into these dataclasses.  Opens no data and builds
no model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from flmr.data import find_task
from flmr.data.tasks import SPLITS
from flmr.errors import InvalidRecipe
from flmr.recipe import from_table, load_recipe


@dataclass(frozen=True)
class ModelRecipe:
    """Where the model comes from: a checkpoint to start from, or towers and the settings that join them.

    start: a checkpoint folder with its tokenizers, also one of colbert-ai.  Beside it `config` names fields of
    FLMRConfig that shall differ: one text tower for both sides becomes two with the same weights, a mapping network
    that is not there is made; and `vision_tower` gives eyes to a checkpoint without.  Nothing else goes with it.
    text_tower: a folder with a BERT-layout model and its vocab.txt, a hub name `owner/name` of one, or an installed
    Python package that carries one in its folder `model`; "" builds one from `text_config` with random weights.
    text_config: fields of FLMRTextConfig; beside a text_tower those that shall differ from its own, such as
    hidden_dropout_prob.
    vocabulary: a vocab.txt for a text tower built from `text_config`; without it `vocabulary_size` word pieces are
    learned from the training passages and questions.
    vision_tower: "none", "mobilenet_v2" (weights from `vision_weights`, an .npz), "conv" or "clip" (`vision_weights` is
    the folder of a published CLIP, whose shape is taken too); without vision_weights random, of `vision_config`.
    config: the fields of FLMRConfig, by their published names (dim, mapping_network_prefix_length, ...).
    init_linear: "pca" starts the projection to `dim` at the principal directions of the text tower's own states on
    training passages; "random" leaves the model's own initialisation.
    """

    start: Path | None = None
    text_tower: str = ""
    text_config: Mapping[str, Any] = field(default_factory=dict)
    vocabulary: Path | None = None
    vocabulary_size: int = 0
    vision_tower: Literal["none", "mobilenet_v2", "conv", "clip"] = "none"
    vision_weights: Path | None = None
    vision_config: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    init_linear: Literal["random", "pca"] = "random"
    query_maxlen: int = 32
    doc_maxlen: int = 256

    def __post_init__(self) -> None:
        learns = self.text_config and (self.vocabulary or self.vocabulary_size)
        if self.start is None and not self.text_tower and not learns:
            raise InvalidRecipe("[model] needs start, or text_tower, or text_config with vocabulary or vocabulary_size")
        refused = ("text_tower", "text_config", "vocabulary", "vocabulary_size")
        given = [name for name in refused if getattr(self, name)] + ["init_linear"] * (self.init_linear != "random")
        if self.start is not None and given:
            raise InvalidRecipe(f"[model] {', '.join(given)} does not go with start, which brings its own")
        _at_least("model", self, 4, "query_maxlen", "doc_maxlen")
        _at_least("model", self, 0, "vocabulary_size")


@dataclass(frozen=True)
class TaskShare:
    """One task of a mixture.

    task: a name that `flmr.data.find_task` knows.  weight: how often in an epoch one of its questions is drawn.  root,
    images: its own folders in the place of those of [data].  mined: a TREC run of its training questions.
    max_questions, max_passages: at most so many for training, a seeded sample; positives and mined passages are always
    kept, and 0 means all.  drop_text, drop_image: as in [data].
    """

    task: str
    weight: float = 1.0
    root: Path | None = None
    images: Path | None = None
    mined: Path | None = None
    max_questions: int = 0
    max_passages: int = 0
    drop_text: float = 0.0
    drop_image: float = 0.0

    def __post_init__(self) -> None:
        find_task(self.task)
        _drops("data.mixture", self)
        _at_least("data.mixture", self, 0, "weight", "max_questions", "max_passages")


@dataclass(frozen=True)
class DataRecipe:
    """What is learned from: passages, questions, and which of their parts take part.

    They come from the files `passages` and `questions`, or from a published `task`, or from a `mixture` of tasks.
    images: the folder that relative picture paths start at, by default that of the file which names them.
    where, valid_where: keep the questions whose metadata match, `{source = "squad"}` or `{source = ["squad", "npl"]}`.
    qrels, valid_qrels: judgments where the questions do not carry positive_ids; a grade below min_grade is no positive.
    root: the folder of a task's data.  split, valid_split: its splits to train on and to validate with ("": none).
    mixture: tasks, each with its share; a batch then holds one task only, ids are "TASK/ID", and `task` is a metadata
    key of passages and questions.
    group_by: a metadata key of the questions; a batch then holds one group only, and `weights` says how often in an
    epoch a question of a group is drawn (default 1).
    mined: a TREC run of the training questions by any system; what it ranks high and is not right makes hard negatives.
    mined_answers: what a ranked passage that is not judged counts as where it holds one of the question's answers:
    "negative" like the others; "drop", neither right nor wrong; "positive", weak supervision for want of judgments.
    teacher: a TREC run of the training questions with the scores of a cross-encoder or another teacher; or
    teacher_column: a metadata key of the questions that holds an object, passage id to score.
    drop_text, drop_image: the probability that in a step a question with a picture makes no rows of its text, or one
    with words none of its picture; at 1 in validation too.  The mapping network goes on reading the text.
    strict: an unreadable line or picture stops the run; else it is counted and reported.  Passages' pictures are opened
    where the model makes rows of them.
    """

    passages: Path | None = None
    questions: Path | None = None
    valid_questions: Path | None = None
    images: Path | None = None
    qrels: Path | None = None
    valid_qrels: Path | None = None
    min_grade: int = 1
    task: str = ""
    mixture: tuple[TaskShare, ...] = ()
    root: Path | None = None
    split: str = "train"
    valid_split: str = ""
    where: Mapping[str, Any] = field(default_factory=dict)
    valid_where: Mapping[str, Any] = field(default_factory=dict)
    use_images: bool = True
    use_text: bool = True
    use_instructions: bool = True
    group_by: str = ""
    weights: Mapping[str, float] = field(default_factory=dict)
    mined: Path | None = None
    mined_answers: Literal["negative", "drop", "positive"] = "negative"
    teacher: Path | None = None
    teacher_column: str = ""
    drop_text: float = 0.0
    drop_image: float = 0.0
    strict: bool = False

    def __post_init__(self) -> None:
        _drops("data", self)
        files = self.passages is not None and self.questions is not None
        if [files, bool(self.task), bool(self.mixture)].count(True) != 1:
            raise InvalidRecipe("[data] needs passages and questions, or task, or mixture: one of the three")
        self._check_tasks()
        if not self.use_images and not self.use_text:
            raise InvalidRecipe("[data] use_images and use_text are both false: nothing is left to ask with")
        if self.weights and not self.group_by:
            raise InvalidRecipe("[data] weights needs group_by, the metadata key that names the groups")
        if any(weight < 0 for weight in self.weights.values()):
            raise InvalidRecipe("[data] weights must not be negative")
        if self.mined_answers != "negative" and not self.has_mined:
            raise InvalidRecipe("[data] mined_answers needs mined, the run whose passages it speaks of")
        if self.mined_answers == "positive" and self.qrels is not None:
            raise InvalidRecipe("[data] mined_answers = 'positive' does not go with qrels, which say what is right")
        if self.teacher is not None and self.teacher_column:
            raise InvalidRecipe("[data] teacher and teacher_column are both given; keep the one that holds the scores")

    def _check_tasks(self) -> None:
        of_files = ("passages", "questions", "valid_questions", "qrels", "valid_qrels")
        of_one = ("group_by", "weights", "images", "mined", "teacher", "teacher_column", "drop_text", "drop_image")
        what = "a mixture" if self.mixture else "a task"
        refused = (*of_files, *of_one) if self.mixture else of_files if self.task else ()
        given = [name for name in refused if getattr(self, name)]
        if given:
            raise InvalidRecipe(f"[data] {', '.join(given)} does not go with {what}")
        if len({share.task for share in self.mixture}) < len(self.mixture):
            raise InvalidRecipe("[data] mixture names a task twice; give it one share with the sum of the weights")
        for share in self.shares:
            if share.root is None and self.root is None:
                raise InvalidRecipe(f"[data] root is missing: the folder that holds the data of {share.task!r}")
            for split in filter(None, (self.split, self.valid_split)):
                if split not in SPLITS:
                    raise InvalidRecipe(
                        f"[data] split and valid_split must be one of {', '.join(SPLITS)}, not {split!r}"
                    )
            if self.split not in find_task(share.task).splits:
                raise InvalidRecipe(f"[data] task {share.task!r} has no split {self.split!r}")
        if self.valid_split and self.shares and not self.validates:
            raise InvalidRecipe(f"[data] no task has the split {self.valid_split!r}; leave valid_split out")

    @property
    def shares(self) -> tuple[TaskShare, ...]:
        """The tasks that are learned from; none where there are files."""
        return (TaskShare(self.task, images=self.images, mined=self.mined),) if self.task else self.mixture

    def drops(self, task: str) -> tuple[float, float]:
        """drop_text and drop_image of the questions of a task; the task is read in a mixture only."""
        where = next((share for share in self.mixture if share.task == task), self)
        return where.drop_text, where.drop_image

    @property
    def validates(self) -> bool:
        """Whether there are validation questions."""
        tasks = (find_task(share.task) for share in self.shares)
        return self.valid_questions is not None or any(self.valid_split in task.splits for task in tasks)

    @property
    def has_mined(self) -> bool:
        """Whether hard negatives can be drawn."""
        return self.mined is not None or any(share.mined is not None for share in self.mixture)

    @property
    def groups(self) -> tuple[str, Mapping[str, float]]:
        """The metadata key that groups questions into batches, and how often each group's are drawn."""
        if self.mixture:
            return "task", {share.task: share.weight for share in self.mixture}
        return self.group_by, self.weights


@dataclass(frozen=True)
class AugmentRecipe:
    """How training pictures are varied; the picture as it is always takes part too.

    views: how many fixed variations of each picture there are; 0 means none.  They are drawn once from the seed, so
    that a frozen vision tower sees each of them once in the whole run.
    rotate: degrees to either side.  zoom, shift: fractions of the side.  brightness, contrast, saturation: relative
    change.  hue: turns of the colour circle.  flip, grayscale: probabilities.  noise: standard deviation, white = 1.
    filter: probability that the colours pass through a random 3 x 3 filter, which changes texture, colours and what is
    light or dark, but no shape.
    """

    views: int = 0
    flip: float = 0.5
    rotate: float = 15.0
    zoom: float = 0.15
    shift: float = 0.1
    brightness: float = 0.2
    contrast: float = 0.3
    saturation: float = 0.5
    hue: float = 0.05
    grayscale: float = 0.1
    noise: float = 0.0
    filter: float = 0.0

    def __post_init__(self) -> None:
        _at_least("augment", self, 0, *(f.name for f in dataclasses.fields(self)))


@dataclass(frozen=True)
class Negatives:
    """Passages added to a batch for each of its questions, beside the positives of the others.

    count: how many.  same, differ: metadata keys (or "title") in which a negative equals, or does not equal, the
    question's positive; both empty means any passage.  mined: above 0, they are drawn from so many first ranks of the
    question in [data] mined, its positives left out.
    """

    count: int
    same: tuple[str, ...] = ()
    differ: tuple[str, ...] = ()
    mined: int = 0

    def __post_init__(self) -> None:
        _at_least("negatives", self, 1, "count")
        _at_least("negatives", self, 0, "mined")
        if self.mined and (self.same or self.differ):
            raise InvalidRecipe("[negatives] mined ranks do not go with same or differ; give each a table of its own")


@dataclass(frozen=True)
class LossWeights:
    """How much each loss of `flmr.train.losses` counts; 0 leaves it out.

    in_batch: cross-entropy of the positive against the whole batch, the published loss.  graded: list-wise, all grades.
    distillation, ranknet: what the teacher scored, by its distribution and by its order.
    """

    in_batch: float = 1.0
    graded: float = 0.0
    distillation: float = 0.0
    ranknet: float = 0.0

    def __post_init__(self) -> None:
        _at_least("loss", self, 0, *(f.name for f in dataclasses.fields(self)))
        if not any(getattr(self, f.name) for f in dataclasses.fields(self)):
            raise InvalidRecipe("[train] loss gives every loss the weight 0; nothing would be learned")

    @property
    def taught(self) -> bool:
        """Whether a teacher is needed."""
        return self.distillation > 0 or self.ranknet > 0


@dataclass(frozen=True)
class TrainRecipe:
    """The steps of one stage.

    steps: optimiser steps; epochs: passes over the questions, read where steps is 0.
    accumulate: batches a step, each with its own passages; their gradients are averaged.
    learning_rate_*: of the text towers, the vision tower, the mapping networks, the projections to `dim` and, in joint
    training, the reader; 0 freezes the group, and a frozen tower runs without dropout.
    text_layers, vision_layers: how many of the last layers of a tower that is not frozen move; 0 means all of them.
    warmup: steps of linear rise; then `schedule`, down to zero at the last step ("constant" does not fall).
    feature_dropout: share of the vision tower's features that a step leaves out before the mapping networks.
    temperature: scores are divided by it; published: 1 (none).  teacher_temperature: the teacher's scores likewise.
    graded_passages, taught_passages: added to a batch for each question, drawn from those with a grade above 0 and from
    those that the teacher scored.
    chunk: above 0, so many questions or passages are encoded at a time, and twice: a step's memory does not grow with
    the batch; 0 keeps the whole batch and encodes once.
    recompute: layers of the towers keep their input only and run again in the backward pass (gradient checkpointing).
    ema: above 0, what is validated and handed on is a running mean of the weights, of which a step keeps this share.
    choose: which weights the stage hands on: "best" on validation, or "last".
    patience: above 0, the stage ends after so many validations in a row that did not improve.
    cache_mb: what towers that do not move make of texts (in memory) and pictures (on disk) is kept where it needs at
    most so many megabytes each; else they run in every step.
    precision: "auto" is bfloat16 autocast on CUDA and on CPUs with bfloat16 arithmetic, else float32.
    pool_passages, pool_queries: of so many rows that are alike one is made before scoring, here and in validation; an
    index of such a model is built with pool = pool_passages.
    """

    name: str = ""
    steps: int = 0
    epochs: float = 0.0
    batch_size: int = 32
    accumulate: int = 1
    chunk: int = 0
    recompute: bool = False
    ema: float = 0.0
    learning_rate_text: float = 0.0
    learning_rate_vision: float = 0.0
    learning_rate_mapping: float = 0.0
    learning_rate_linear: float = 0.0
    learning_rate_reader: float = 0.0
    text_layers: int = 0
    vision_layers: int = 0
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup: int = 0
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    feature_dropout: float = 0.0
    temperature: float = 1.0
    teacher_temperature: float = 1.0
    label_smoothing: float = 0.0
    loss: LossWeights = field(default_factory=LossWeights)
    negatives: tuple[Negatives, ...] = ()
    graded_passages: int = 0
    taught_passages: int = 0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    cache_mb: int = 8192
    evaluate_every: int = 0
    save_every: int = 200
    choose: Literal["best", "last"] = "best"
    patience: int = 0
    pool_passages: int = 1
    pool_queries: int = 1

    def __post_init__(self) -> None:
        numbers = [f.name for f in dataclasses.fields(self) if f.type in ("int", "float")]
        _at_least("train", self, 0, *numbers)
        _at_least("train", self, 1, "batch_size", "accumulate", "save_every", "pool_passages", "pool_queries")
        if self.patience and not self.evaluate_every:
            raise InvalidRecipe("[train] patience needs evaluate_every, the validations that it counts")
        if self.temperature <= 0 or self.teacher_temperature <= 0:
            raise InvalidRecipe("[train] temperature and teacher_temperature must be above 0")
        if max(self.label_smoothing, self.feature_dropout, self.ema) >= 1:
            raise InvalidRecipe("[train] label_smoothing, feature_dropout and ema must be below 1")


@dataclass(frozen=True)
class JointLossWeights:
    """How much each loss of joint training counts; 0 leaves it out.

    marginal: -log of the target's probability, summed over what was read (RAG).  reading: of the target's tokens given
    each passage, which teaches the reader alone.  relevance: what reader and text agree on against the scores.
    """

    marginal: float = 1.0
    reading: float = 0.0
    relevance: float = 1.0

    def __post_init__(self) -> None:
        _at_least("joint.loss", self, 0, "marginal", "reading", "relevance")
        if not (self.marginal or self.reading or self.relevance):
            raise InvalidRecipe("[joint] loss gives every loss the weight 0; nothing would be learned")


@dataclass(frozen=True)
class JointRecipe:
    """Retriever and reader are trained together: what is read, and where it comes from.

    passages: how many a question reads in a step.  of_first: above 0, drawn from so many first ranks.
    retrieval: "live" searches the index with the questions as they are now, "static" reads the files of `static` (TREC
    runs or RA-VQA's JSON, all questions between them), "none" reads nothing: closed book.
    move_passages: passages get gradients too.  refresh_every: steps after which passages are encoded and indexed anew;
    needed where they move.  nbits: of the index.
    targets: "per_passage", an annotator's answer that the passage holds, or "gold", the most frequent one.
    """

    passages: int = 5
    of_first: int = 0
    retrieval: Literal["live", "static", "none"] = "live"
    static: tuple[Path, ...] = ()
    move_passages: bool = False
    refresh_every: int = 0
    nbits: int = 0
    targets: Literal["per_passage", "gold"] = "per_passage"
    loss: JointLossWeights = field(default_factory=JointLossWeights)

    def __post_init__(self) -> None:
        _at_least("joint", self, 1, "passages")
        _at_least("joint", self, 0, "of_first", "refresh_every")
        if 0 < self.of_first < self.passages:
            raise InvalidRecipe(f"[joint] of_first ({self.of_first}) is below passages ({self.passages})")
        if (self.retrieval == "static") != bool(self.static):
            raise InvalidRecipe("[joint] retrieval = 'static' and static, its files, need each other")
        if self.loss.relevance and (self.retrieval == "none" or self.passages < 2):
            raise InvalidRecipe("[joint] loss relevance compares two passages or more; set it to 0 to read fewer")


@dataclass(frozen=True)
class LoraRecipe:
    """Low-rank adapters that move in place of the reader's weights; no targets means every linear layer."""

    rank: int = 8
    alpha: int = 32
    dropout: float = 0.1
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReaderRecipe:
    """The reader: a folder of a transformers sequence-to-sequence or image-text-to-text model with its tokenizer.

    prompt, max_prompt, max_answer, beams: where given, in the place of what the folder's reader.json says.
    """

    start: Path
    prompt: str = ""
    max_prompt: int = 0
    max_answer: int = 0
    beams: int = 0
    dtype: Literal["float32", "bfloat16"] = "float32"
    lora: LoraRecipe | None = None


@dataclass(frozen=True)
class EvaluateRecipe:
    """How the validation questions choose the step: exact MaxSim over the passages, every positive of grade 1.

    measure: the one that chooses, by its name in flmr.evaluate: strict_recall@K, pseudo_recall@K, set_recall@K, MRR@10
    or nDCG@10, or "published", what each task is published with; in joint training pseudo_recall@K, exact_match or
    vqa_score.  Where pseudo recall may choose, a question with an answer needs no positive passage.
    by: a metadata key of the questions; the measure is then the mean over its groups, each reported.
    passages: at most so many passages, the positives and a seeded sample of the others; 0 means all of them.
    questions: at most so many, a seeded sample; 0 means all.
    """

    measure: str = "strict_recall@5"
    ks: tuple[int, ...] = (1, 5, 10, 100)
    by: str = ""
    passages: int = 0
    questions: int = 0
    batch_size: int = 64

    def __post_init__(self) -> None:
        known = [f"{name}@{k}" for k in self.ks for name in ("strict_recall", "pseudo_recall", "set_recall")]
        known += ["MRR@10", "nDCG@10", "published", "exact_match", "vqa_score"]
        if self.measure not in known:
            raise InvalidRecipe(f"[evaluate] measure must be one of {', '.join(known)}, not {self.measure!r}")
        _at_least("evaluate", self, 0, "passages", "questions")
        _at_least("evaluate", self, 1, "batch_size")

    @property
    def takes_answers(self) -> bool:
        """Whether a question may be validated with by its answers alone."""
        return self.measure == "published" or self.measure.startswith("pseudo_recall")

    @property
    def joint_measures(self) -> tuple[str, ...]:
        """Those of joint training."""
        return (*(f"pseudo_recall@{k}" for k in self.ks), "exact_match", "vqa_score")


# What a joint step makes no use of.
NOT_JOINT: tuple[str, ...] = ("chunk", "temperature", "teacher_temperature", "label_smoothing", "loss", "negatives")
NOT_JOINT += ("graded_passages", "taught_passages", "pool_passages", "pool_queries")


@dataclass(frozen=True)
class TrainingRecipe:
    """A whole training run.  Each [[stage]] overrides keys of [train] and starts from the weights of the one before.

    joint: with `reader`, the run trains a retriever and a reader together.
    features: a folder that keeps what frozen vision layers made of pictures for further runs; without it the run's own
    folder does, and is emptied of it at the end.
    """

    model: ModelRecipe
    data: DataRecipe
    augment: AugmentRecipe = field(default_factory=AugmentRecipe)
    train: TrainRecipe = field(default_factory=TrainRecipe)
    stage: tuple[Mapping[str, Any], ...] = ()
    evaluate: EvaluateRecipe = field(default_factory=EvaluateRecipe)
    joint: JointRecipe | None = None
    reader: ReaderRecipe | None = None
    seed: int = 0
    device: str = "auto"
    features: Path | None = None

    def __post_init__(self) -> None:
        for stage in self.stages():
            if not stage.steps and not stage.epochs:
                raise InvalidRecipe(f"stage {stage.name!r} has neither steps nor epochs")
            if stage.evaluate_every and not self.data.validates:
                raise InvalidRecipe("evaluate_every needs [data] valid_questions, or valid_split of a task")
            if not self.data.has_mined and any(negatives.mined for negatives in stage.negatives):
                raise InvalidRecipe("negatives with mined need [data] mined, the run that they are drawn from")
            if (stage.loss.taught or stage.taught_passages) and not (self.data.teacher or self.data.teacher_column):
                raise InvalidRecipe(
                    "distillation, ranknet and taught_passages need [data] teacher or teacher_column, the scores"
                )
        if self.evaluate.measure == "published" and not (self.data.task or self.evaluate.by == "task"):
            raise InvalidRecipe("[evaluate] measure 'published' is a task's: it needs [data] task, or by = \"task\"")
        self._check_joint()

    def measure_of(self, group: str) -> str:
        """The measure that chooses, of one group of validation questions."""
        return (
            find_task(group or self.data.task).measure
            if self.evaluate.measure == "published"
            else self.evaluate.measure
        )

    def _check_joint(self) -> None:
        if (self.joint is None) != (self.reader is None):
            raise InvalidRecipe("[joint] and [reader] need each other: give both, or neither")
        of_reading = self.evaluate.measure in ("exact_match", "vqa_score")
        if self.evaluate.measure not in self.evaluate.joint_measures if self.joint is not None else of_reading:
            kind = ", ".join(self.evaluate.joint_measures) if self.joint else "a measure of retrieval alone"
            raise InvalidRecipe(f"[evaluate] measure must here be {kind}, not {self.evaluate.measure!r}")
        if self.joint is None:
            if any(stage.learning_rate_reader for stage in self.stages()):
                raise InvalidRecipe("learning_rate_reader needs [joint] and [reader]")
            return
        if self.joint.retrieval == "none" and self.evaluate.measure.startswith("pseudo_recall"):
            raise InvalidRecipe("[evaluate] measure: nothing is retrieved with retrieval = 'none'; use exact_match")
        if self.evaluate.by or self.evaluate.passages:
            raise InvalidRecipe("[evaluate] by and passages do not go with [joint]")
        data = self.data
        if data.drop_text or data.drop_image or any(share.drop_text or share.drop_image for share in data.mixture):
            raise InvalidRecipe("[data] drop_text and drop_image do not go with [joint]")
        for stage in self.stages():
            changed = [name for name in NOT_JOINT if getattr(stage, name) != getattr(TrainRecipe(), name)]
            if changed:
                raise InvalidRecipe(f"stage {stage.name!r}: {', '.join(changed)} does not go with [joint]")
            moves = [g for g in ("text", "vision", "mapping", "linear") if getattr(stage, f"learning_rate_{g}")]
            if moves and self.joint.retrieval == "none":
                raise InvalidRecipe(
                    f"stage {stage.name!r}: learning_rate_{moves[0]} moves nothing where none retrieves"
                )

    def stages(self) -> tuple[TrainRecipe, ...]:
        """The stages in order, each complete: its own keys over those of [train]."""
        complete = []
        for i, table in enumerate(self.stage or ({},), start=1):
            own = from_table(table, TrainRecipe, where=f"stage {i}")
            values = {key: getattr(own, key) for key in table}
            name = own.name or self.train.name or f"stage {i}"
            complete.append(dataclasses.replace(self.train, **{**values, "name": name}))
        return tuple(complete)


def load_training_recipe(path: str | Path) -> TrainingRecipe:
    """Read a training recipe; raises InvalidRecipe naming the file and the key."""
    return load_recipe(path, TrainingRecipe)


def _at_least(table: str, recipe: Any, lowest: int, *names: str) -> None:
    for name in names:
        if getattr(recipe, name) < lowest:
            raise InvalidRecipe(f"[{table}] {name} must be at least {lowest}, not {getattr(recipe, name)}")


def _drops(table: str, recipe: DataRecipe | TaskShare) -> None:
    _at_least(table, recipe, 0, "drop_text", "drop_image")
    if recipe.drop_text + recipe.drop_image > 1:
        raise InvalidRecipe(f"[{table}] drop_text and drop_image must be 1 together at most: a question keeps one part")
