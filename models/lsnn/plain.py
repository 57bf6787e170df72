"""The rival without structure: an MLP from state to increment."""

from itertools import pairwise
from typing import cast

from torch import Tensor, nn

from lanewise.models.lsnn.data import Pairs


class PlainMlp(nn.Module):
    """``x + increment(x)``, inputs and increments at unit size; hidden layers as the generating network's, shapes ``(batch, 4)``."""

    def __init__(self, sizes: tuple[int, ...], pairs: Pairs) -> None:
        super().__init__()
        widths = (*sizes[:-1], sizes[0])
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            layers += [nn.Linear(a, b), nn.Tanh()]
        self.network = nn.Sequential(*layers[:-1])
        change = pairs.end - pairs.start
        for name, value in (
            ("centre", pairs.start.mean(0)), ("spread", pairs.start.std(0)), ("offset", change.mean(0)), ("gain", change.std(0)),
        ):  # fmt: skip
            self.register_buffer(name, value)

    def forward(self, x: Tensor) -> Tensor:
        """The state after a step."""
        centre, spread, offset, gain = self.buffers()
        return x + offset + gain * cast(Tensor, self.network((x - centre) / spread))
