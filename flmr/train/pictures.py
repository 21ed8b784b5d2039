"""Pictures as pixels, and what the part of the vision tower that does not move makes of them, kept on disk.

Knows picture rows and views (view 0 is the picture itself, each other one a fixed variation of it), the towers' own
image processing, and which layers of a tower may be run ahead.  Knows nothing of questions, passages or losses.

Shapes: B pictures, S pixels to a side, N patches, V vision width.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from flmr.errors import InvalidRecipe
from flmr.images import load_image
from flmr.model.flmr.vision import MobileNetTower
from flmr.model.image_processor import black_picture, crop, preprocess
from flmr.progress import Report
from flmr.records import ImageSource, Region
from flmr.train.augment import augment
from flmr.train.recipe import AugmentRecipe
from flmr.train.seeds import mixed_seed
from flmr.train.state import replace_file

# Pictures run ahead at once.  32 took 1.6 times as long each: their activations do not fit the cache (Zen 5, float32).
AHEAD = 8


@dataclass(frozen=True)
class Picture:
    """A picture, or a part of one that is an image of its own.  fixed: it is never varied."""

    source: ImageSource
    region: Region | None = None
    fixed: bool = False

    def open(self) -> Image.Image:
        """An upright RGB picture; raises UnreadableImage."""
        picture = load_image(self.source)
        return picture if self.region is None else crop(picture, self.region)

    def describe(self) -> str:
        """Changes with the file's name or the picture's content, and with its part."""
        source = self.source
        name = str(source) if isinstance(source, str | Path) else hashlib.sha256(_bytes(source)).hexdigest()
        return name if self.region is None else f"{name} {self.region}"


class Album:
    """Different pictures and parts of pictures, in the order of their first use."""

    def __init__(self) -> None:
        self.pictures: list[Picture] = []
        self._rows: dict[Any, int] = {}

    def rows(self, source: ImageSource | None, regions: Sequence[Region] = ()) -> tuple[int, ...]:
        """Where the whole and each region stand; () for no picture."""
        if source is None:
            return ()
        found = []
        for region in (None, *regions):
            row = self._rows.setdefault((picture_key(source), region), len(self.pictures))
            if row == len(self.pictures):
                self.pictures.append(Picture(source, region))
            found.append(row)
        return tuple(found)


def picture_key(source: ImageSource) -> Any:
    """The same for the same picture: what a dict can hold."""
    return source if isinstance(source, str | Path | bytes) else id(source)


def with_black(
    pictures: Sequence[Picture], pictures_of: Sequence[tuple[int, ...]]
) -> tuple[tuple[Picture, ...], tuple[tuple[int, ...], ...]]:
    """The same where a black picture, behind the others, takes the place of none."""
    black = Picture(black_picture(), fixed=True)
    return (*pictures, black), tuple(own or (len(pictures),) for own in pictures_of)


class Pictures:
    """The pictures of a set of records as pixels that the tower takes.  Keeps nothing in memory but their sources."""

    def __init__(self, pictures: Sequence[Picture], config: Any, recipe: AugmentRecipe, *, seed: int) -> None:
        self._pictures, self._config, self._recipe, self._seed = pictures, config, recipe, seed
        self.views = 1 + recipe.views

    def __len__(self) -> int:
        return len(self._pictures)

    def pixels(self, rows: Sequence[int], views: Sequence[int]) -> Tensor:
        """(B, 3, S, S) float32.  A view is the same on every call: its variation is drawn from (seed, row, view)."""
        pictures = [self._picture(int(row), int(view)) for row, view in zip(rows, views, strict=True)]
        return preprocess(pictures, self._config)

    def fingerprint(self) -> str:
        """Changes with the pictures, their order, and how they are varied."""
        described = [picture.describe() for picture in self._pictures]
        return hashlib.sha256(repr((described, self._recipe, self._seed)).encode()).hexdigest()

    def _picture(self, row: int, view: int) -> Image.Image:
        picture = self._pictures[row].open()
        if view == 0 or self._pictures[row].fixed:
            return picture
        side = self._config.image_size
        scale = side / min(picture.size)
        size = tuple(max(side, round(pixels * scale)) for pixels in picture.size)
        values_HW3 = np.asarray(picture.resize((size[0], size[1]), Image.Resampling.BICUBIC), np.float32) / 255.0
        generator = torch.Generator().manual_seed(mixed_seed(self._seed, row, view))
        varied = augment(torch.from_numpy(values_HW3).permute(2, 0, 1)[None], self._recipe, generator)
        return Image.fromarray((varied[0].permute(1, 2, 0) * 255.0).round().to(torch.uint8).numpy())


class SplitTower:
    """A vision tower cut in two: what runs ahead because it does not move, and what runs in every step.

    moving: how many of the tower's last layers move; 0 means none, None means all.
    """

    def __init__(self, tower: nn.Module, moving: int | None) -> None:
        self._tower: Any = tower
        self._cut = self._cut_of(moving)
        self.runs_ahead = moving == 0 or bool(self._cut)
        self.device = next(tower.parameters()).device

    def _cut_of(self, moving: int | None) -> int | None:
        """Number of the first layer that runs in every step; None where the tower is not cut inside."""
        if not isinstance(self._tower, MobileNetTower) or not moving:
            return None
        layers = len(self._tower.vision_model.features)
        if moving > layers:
            raise InvalidRecipe(f"vision_layers is {moving}, but the vision tower has {layers} layers")
        return layers - moving

    def ahead(self) -> Callable[[Tensor], tuple[Tensor, ...]]:
        """Pixels -> what `rest` goes on from, without a gradient; a copy of the layers laid out for speed."""
        tower = copy.deepcopy(self._tower).eval().to(memory_format=torch.channels_last)

        def run(pixels_B3SS: Tensor) -> tuple[Tensor, ...]:
            pixels_B3SS = pixels_B3SS.contiguous(memory_format=torch.channels_last)
            with torch.inference_mode():
                if self._cut is not None:
                    return (_through(tower.vision_model.features[: self._cut], pixels_B3SS),)
                features = tower(pixels_B3SS)
                return features.summary, features.patches

        return run

    def whole(self, pixels_B3SS: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels -> summary (B, V) and patches (B, N, V), with a gradient where layers move."""
        seen = self._tower(pixels_B3SS.to(self.device))
        return seen.summary, seen.patches

    def rest(self, stored: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """What `ahead` gave -> summary (B, V) and patches (B, N, V), with a gradient where layers move."""
        if self._cut is None:
            return stored[0], stored[1]
        grid = stored[0].contiguous(memory_format=torch.channels_last)
        grid = _through(self._tower.vision_model.features[self._cut :], grid)
        patches_BNV = grid.flatten(2).transpose(1, 2)
        return patches_BNV.mean(1), patches_BNV

    def fingerprint(self) -> str:
        """Changes with the weights of what runs ahead."""
        kept = self._tower if self._cut is None else self._tower.vision_model.features[: self._cut]
        digest = hashlib.sha256()
        for name, tensor in kept.state_dict().items():
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


class StoredViews:
    """What the layers that run ahead made of every picture and view: half-precision arrays on disk, mapped."""

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        self._arrays = arrays

    @classmethod
    def make(
        cls, folder: Path, pictures: Pictures, tower: SplitTower, *, device: torch.device, tick: Report
    ) -> StoredViews:
        """Run every picture and view once, or map what an earlier start of the same run has made.

        The folder's name holds the fingerprints of pictures and weights; `done.json` is written last.
        """
        mark = hashlib.sha256((pictures.fingerprint() + tower.fingerprint()).encode()).hexdigest()[:16]
        folder = folder / mark
        if not (folder / "done.json").exists():
            folder.mkdir(parents=True, exist_ok=True)
            count = _fill(folder, pictures, tower, device, tick)
            replace_file(folder / "done.json", json.dumps({"arrays": count}).encode())
        count = json.loads((folder / "done.json").read_text(encoding="utf-8"))["arrays"]
        return cls([np.load(folder / f"{i}.npy", mmap_mode="r") for i in range(count)])

    def take(self, rows: Sequence[int], views: Sequence[int], device: torch.device) -> tuple[Tensor, ...]:
        """The stored tensors of each (picture, view) as float32."""
        picked = [np.stack([array[r, v] for r, v in zip(rows, views, strict=True)]) for array in self._arrays]
        return tuple(torch.from_numpy(array).to(device, torch.float32) for array in picked)


@dataclass(frozen=True)
class Sight:
    """Pictures and the tower that sees them.

    stored: what the part of the tower that does not move made of each picture and view; None where pixels go through
    the whole tower in every step.  dropout: share of the features that training leaves out.
    """

    pictures: Pictures
    tower: SplitTower
    stored: StoredViews | None = None
    dropout: float = 0.0

    def features(self, rows: Sequence[int], views: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Summary (B, V) and patches (B, N, V) of each (picture, view)."""
        if self.stored is None:
            return self.tower.whole(self.pictures.pixels(rows, views))
        return self.tower.rest(self.stored.take(rows, views, self.tower.device))


def _fill(folder: Path, pictures: Pictures, tower: SplitTower, device: torch.device, tick: Report) -> int:
    run, total = tower.ahead(), len(pictures) * pictures.views
    pairs = [(row, view) for row in range(len(pictures)) for view in range(pictures.views)]
    arrays: list[np.ndarray] = []
    for start in range(0, total, AHEAD):
        part = pairs[start : start + AHEAD]
        rows, views = zip(*part, strict=True)
        for i, tensor in enumerate(run(pictures.pixels(rows, views).to(device))):
            if len(arrays) == i:
                shape = (len(pictures), pictures.views, *tensor.shape[1:])
                arrays.append(open_memmap(folder / f"{i}.npy", mode="w+", dtype=np.float16, shape=shape))
            arrays[i][list(rows), list(views)] = tensor.cpu().numpy()
        tick("seeing pictures", start + len(part), total)
    for array in arrays:
        array.flush()  # type: ignore[attr-defined]
    return len(arrays)


def _through(layers: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Some of MobileNetV2's layers; the first and last are one activated convolution each."""
    for layer in layers:
        x = F.relu6(layer[0](x)) if isinstance(layer, nn.ModuleList) else layer(x)
    return x


def _bytes(source: Any) -> bytes:
    return source if isinstance(source, bytes) else source.tobytes()
