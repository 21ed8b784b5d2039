"""Questions about a pictured figure: for each type of fact its wordings by split, and the draw of questions.

Knows wordings, of which none is shared by two splits, and instructions, which all splits share; every sentence is our
own.  Knows no picture: a question is drawn for a number, the picture of the same number is rendered elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from flmr.data.sample.facts import KINDS, Entity, FactType, PassageKind
from flmr.data.sample.passages import passage_id

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

# The bundled checkpoint was trained with other instructions; what these cost it: training/README.md.
INSTRUCTIONS = (
    "Find the passage that answers what is asked about this picture:",
    "With the picture at hand, look up what answers the question:",
    "Which text settles this question about the figure shown:",
    "Which passage knows the answer, given the picture:",
    "Look at the picture, then find the answer to the question:",
)
IMAGE_INSTRUCTIONS = (
    "Find the text about what this picture shows:",
    "Which text belongs to this picture:",
    "What passage speaks of the figure in this picture:",
)

# type of fact -> split -> wordings
WORDINGS: Mapping[FactType | Literal["title"], Mapping[Split, tuple[str, ...]]] = {
    "rule": {
        "train": (
            "By what equation or rule is this figure defined?",
            "How is the figure in the picture constructed?",
            "What is the definition of this figure?",
            "Which rule draws what is shown here?",
            "Give the construction or the equation of the pictured figure.",
        ),
        "valid": ("What equation or construction defines what is shown?", "How is this drawn, by definition?"),
        "test": ("Which construction or equation gives the figure shown?", "What rule defines the pictured figure?"),
    },
    "family": {
        "train": (
            "To which family of figures does this belong?",
            "What kind of figure is this?",
            "Which class of curves or figures is shown here?",
            "Under which family would one file the pictured figure?",
            "What sort of figure is in the picture?",
        ),
        "valid": ("Which kind of figure is in the picture?", "What family does the figure belong to?"),
        "test": ("What class of figures is this one of?", "Which sort of curve or figure is shown?"),
    },
    "length": {
        "train": (
            "How long is this figure, all lines together?",
            "What is the total length of the lines shown?",
            "How long is the line of the pictured figure in its standard size?",
            "What length does the outline of this figure have?",
            "If one walks along every line of this figure, how far is it?",
        ),
        "valid": (
            "What is the length of the figure in the picture?",
            "How long are the lines of this figure together?",
        ),
        "test": ("How long is the outline shown here in all?", "What total length do the lines of this figure have?"),
    },
    "area": {
        "train": (
            "What area does this figure enclose?",
            "How large is the area inside the pictured figure?",
            "How much area belongs to the figure shown here?",
            "What is the area of this figure in its standard size?",
            "Which area is covered by what is in the picture?",
        ),
        "valid": ("How large an area is inside the figure shown?", "What is the area covered by this figure?"),
        "test": ("How much area does the pictured figure enclose?", "What area lies inside what is shown here?"),
    },
    "size": {
        "train": (
            "How large is this figure in its standard form?",
            "What are the measures or the radius of this figure?",
            "How far does the pictured figure reach?",
            "What size does the figure shown here have?",
            "Which width, height or radius belongs to this figure?",
        ),
        "valid": ("What size is the figure in the picture?", "How far does this figure reach in its standard form?"),
        "test": (
            "How large is the pictured figure, or what radius has it?",
            "What width, radius or size does this have?",
        ),
    },
    "dimension": {
        "train": (
            "What dimension does this figure have?",
            "Which number is the dimension of the pictured figure?",
            "How large is the dimension of what is shown?",
            "Give the dimension of the figure in the picture.",
        ),
        "valid": ("What is the dimension of this figure?",),
        "test": ("Which dimension has the figure shown here?",),
    },
    "count": {
        "train": (
            "How many copies, parts or steps make up this figure?",
            "Of how many parts is the pictured figure made?",
            "How many pieces or rounds does this figure consist of?",
            "Give the number of parts in the figure shown here.",
        ),
        "valid": ("What number of parts, copies or steps has this figure?",),
        "test": ("How many parts or copies is the figure in the picture made of?",),
    },
    "rotation": {
        "train": (
            "What rotational symmetry does this figure have?",
            "Of which order is the rotational symmetry of what is shown?",
            "By which turns does the pictured figure fall onto itself?",
            "What is the order of rotation of this figure?",
            "Does turning leave this figure unchanged, and how often?",
        ),
        "valid": ("Which order of rotational symmetry is shown here?", "How does the figure behave when it is turned?"),
        "test": (
            "What order of rotation has the figure in the picture?",
            "Which turns leave the pictured figure unchanged?",
        ),
    },
    "mirrors": {
        "train": (
            "How many mirror lines does this figure have?",
            "Is the pictured figure mirror symmetric, and along how many lines?",
            "What is the number of mirror lines in the figure shown?",
            "Along how many lines can this figure be folded onto itself?",
            "Does this have mirror lines, and how many?",
        ),
        "valid": ("How many lines of mirror symmetry are there here?", "What number of mirror lines has this figure?"),
        "test": (
            "How many mirror lines can be drawn in the pictured figure?",
            "Along how many mirror lines does this fold?",
        ),
    },
    "crossings": {
        "train": (
            "How often does this figure cross itself?",
            "At how many points do the lines of the pictured figure cross?",
            "Does the line shown here cross itself, and where?",
            "What is the number of crossings in this figure?",
            "How many crossings does the figure in the picture have?",
        ),
        "valid": ("At how many points does this line cross itself?", "How many times do the lines shown cross?"),
        "test": (
            "How many crossings do the lines of this figure have?",
            "How often do the lines cross in the figure shown?",
        ),
    },
    "points": {
        "train": (
            "How many cusps, corners, petals or loops does this figure have?",
            "What can be counted on this figure, and how many are there?",
            "How many tips or separate parts does one count in the picture?",
            "Count the corners, cusps or petals of the figure shown.",
        ),
        "valid": ("What number of cusps, corners or petals has this figure?",),
        "test": ("How many corners, petals, loops or cusps are there on the pictured figure?",),
    },
    "name": {
        "train": (
            "What does the name of this figure mean, or what else is it called?",
            "Where does the name of the pictured figure come from?",
            "What is the origin of the name of what is shown?",
            "After what or whom is this figure named, or how else is it known?",
            "What is the meaning of the name of this figure?",
        ),
        "valid": ("How is the name of this figure explained?", "What other name or meaning of the name is told?"),
        "test": ("What is meant by the name of the pictured figure?", "From where comes the name of this figure?"),
    },
    "person": {
        "train": (
            "Who studied or discovered this figure?",
            "Which person is connected with the pictured figure?",
            "Who described the figure shown here?",
            "Who is told about in the history of this figure?",
            "Which mathematician or inventor dealt with what is shown?",
        ),
        "valid": ("Who dealt with the figure in the picture?", "Which person described this figure?"),
        "test": ("Who is connected with the history of this figure?", "Which person studied what is shown here?"),
    },
    "place": {
        "train": (
            "Where does this figure appear in nature or technology?",
            "Where can one meet the pictured figure?",
            "What is the figure shown here used for, or where is it seen?",
            "In which things does this figure occur?",
            "Where in the world is something like this found?",
        ),
        "valid": ("Where is this figure used or seen?", "In nature or technology, where does this occur?"),
        "test": ("Where is the pictured figure found or used?", "In which things can one meet this figure?"),
    },
    "kin": {
        "train": (
            "How is this figure related to other figures or ideas?",
            "Which relation connects the pictured figure with others?",
            "What remarkable property or relation does this figure have?",
            "With what other figure or idea is this one connected?",
            "To what is the figure shown here related?",
        ),
        "valid": (
            "What is this figure connected with or related to?",
            "Which property or relation is remarkable here?",
        ),
        "test": (
            "What other idea or figure is the pictured one related to?",
            "Which remarkable relation does this have?",
        ),
    },
    "title": {
        "train": (
            "Which figure is this?",
            "What is the figure in the picture called?",
            "What is shown here?",
            "Tell me about the pictured figure.",
        ),
        "valid": ("What is this figure called?",),
        "test": ("Which figure is shown in the picture?",),
    },
}

# How often a type is drawn where a figure has it: facts that few figures have say much about the figure even without
# its picture, so they are asked more rarely.
WEIGHTS: Mapping[str, float] = {"dimension": 0.3, "count": 0.4, "title": 0.7}


@dataclass(frozen=True)
class Draw:
    """One question as drawn: its wording, its instruction, the kinds of passage that answer it, and the answer."""

    type: str
    text: str
    instruction: str
    kinds: tuple[PassageKind, ...]
    answers: tuple[str, ...]

    def positive_ids(self, entity: Entity) -> list[str]:
        """The passages that hold the answer."""
        return [passage_id(entity, kind) for kind in self.kinds]


def types(entity: Entity) -> list[str]:
    """The types of question that a figure can be asked."""
    return [*dict.fromkeys(fact.type for kind in KINDS for fact in entity.facts(kind)), "title"]


def draw(entity: Entity, split: Split, rng: np.random.Generator, *, taken: frozenset[str] = frozenset()) -> Draw:
    """A question about a figure, of a type that is not taken.

    In train one question in twelve is asked by the picture alone.
    """
    if split == "train" and rng.random() < 1 / 12:
        instruction = str(rng.choice(IMAGE_INSTRUCTIONS))
        return Draw("image", "", instruction, KINDS, (entity.title,))
    offered = [name for name in types(entity) if name not in taken] or types(entity)
    weights = np.array([WEIGHTS.get(name, 1.0) for name in offered])
    chosen = offered[int(rng.choice(len(offered), p=weights / weights.sum()))]
    text = str(rng.choice(WORDINGS[chosen][split]))  # type: ignore[index]
    instruction = str(rng.choice(INSTRUCTIONS))
    if chosen == "title":
        return Draw(chosen, text, instruction, KINDS, (entity.title,))
    kinds = tuple(kind for kind in KINDS if any(fact.type == chosen for fact in entity.facts(kind)))
    answers = tuple(fact.answer for kind in kinds for fact in entity.facts(kind) if fact.type == chosen)
    return Draw(chosen, text, instruction, kinds, answers)
