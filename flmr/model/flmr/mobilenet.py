"""MobileNetV2 as a vision tower: a grid of 1280-wide patch features and their mean.

Knows the network with its batch norms folded into the convolutions, padded as TensorFlow's SAME does, and the names of
the weight file.  Knows nothing of FLMR.  Source: Sandler et al. 2018, "MobileNetV2", table 2.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from flmr.errors import CheckpointError

# expansion, channels, blocks, stride of the first block
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class MobileNetV2(nn.Module):
    """Pixels (B, 3, S, S) in -1..1 -> grid (B, 1280, G, G), G = ceil(S / 32)."""

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = [nn.ModuleList([_Conv(3, 32, size=3, stride=2)])]
        channels = 32
        for expansion, out, count, stride in _STAGES:
            for i in range(count):
                blocks.append(_Block(channels, out, expansion, stride if i == 0 else 1))
                channels = out
        blocks.append(nn.ModuleList([_Conv(channels, 1280)]))
        self.features = nn.ModuleList(blocks)

    def forward(self, pixels_B3SS: torch.Tensor) -> torch.Tensor:
        x = F.relu6(self.features[0][0](pixels_B3SS))  # type: ignore[index]
        for block in self.features[1:-1]:
            x = block(x)
        return F.relu6(self.features[-1][0](x))  # type: ignore[index]


class _Block(nn.Module):
    """Expand, filter each channel, project; the input is added where its shape allows."""

    def __init__(self, width_in: int, width_out: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = width_in * expansion
        expand = [nn.ModuleList([_Conv(width_in, inner)])] if expansion > 1 else []
        depthwise = nn.ModuleList([_Conv(inner, inner, size=3, stride=stride, groups=inner)])
        self.conv = nn.ModuleList([*expand, depthwise, _Conv(inner, width_out)])
        self.adds_input = stride == 1 and width_in == width_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = x
        for activated in self.conv[:-1]:
            y = F.relu6(activated[0](y))  # type: ignore[index]
        y = self.conv[-1](y)
        if self.adds_input:
            y = y + x
        return y


class _Conv(nn.Conv2d):
    """A convolution padded so that the output has ceil(input / stride) pixels, the odd pixel at the bottom right."""

    def __init__(self, width_in: int, width_out: int, size: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__(width_in, width_out, size, stride=stride, groups=groups, bias=True)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        pads: list[int] = []
        for pixels in reversed(input.shape[-2:]):
            total = max((-(-pixels // self.stride[0]) - 1) * self.stride[0] + self.kernel_size[0] - pixels, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(F.pad(input, pads) if any(pads) else input)


def load_mobilenet_v2(npz: str | Path) -> MobileNetV2:
    """The network with the weights of a `.npz` file (names `features.N...weight|bias`; a classifier is ignored).

    Raises CheckpointError where the file is missing, has other names or other shapes.
    """
    path = Path(npz)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if not name.startswith("classifier.")}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"MobileNetV2 weights {str(path)!r} cannot be read: {error}") from None
    network = MobileNetV2()
    expected = network.state_dict()
    wrong = sorted(set(expected) ^ set(arrays)) or sorted(
        name for name, array in arrays.items() if array.shape != tuple(expected[name].shape)
    )
    if wrong:
        raise CheckpointError(
            f"{str(path)!r} does not hold MobileNetV2: {len(wrong)} weights differ, first {wrong[0]!r}"
        )
    network.load_state_dict({name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()})
    return network
