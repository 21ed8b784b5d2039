"""The atlas of figures in the plane: a sample knowledge base of pictures and passages, owned by this project.

136 named figures (rolled curves, roses, spirals, stars, knots, graphs, tiles, fractals), four passages of checked facts
each, pictures drawn in any pose and many styles, and questions that cannot be answered without the picture.
Knows nothing of models and indexes.
"""

from flmr.data.sample.facts import Entity, Fact
from flmr.data.sample.passages import entities, passages
from flmr.data.sample.render import render
from flmr.data.sample.write import write_sample

__all__ = ["Entity", "Fact", "entities", "passages", "render", "write_sample"]
