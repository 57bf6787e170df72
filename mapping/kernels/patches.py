"""The windows of a convolution over a tensor in external memory: what they have of it, and how it lies there.

A convolution is a matrix product whose left operand is never in memory as such (implicit im2col): a line of it is a result's patch, for each tap, kernel rows
first, the channels of a group. The tensor lies as its producer stores it: images, then positions, channels innermost, without borders.
:mod:`lanewise.mapping.kernels.patch_loads` has the commands.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, prod
from typing import NamedTuple


class Axis(NamedTuple):
    """One axis of positions, images' included, with the window that moves along it."""

    size: int
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    padding: int = 0

    @property
    def out(self) -> int:
        """Places of the window."""
        return (self.size + 2 * self.padding - self.dilation * (self.kernel - 1) - 1) // self.stride + 1

    @property
    def plain(self) -> bool:
        """Whether each position is a result's whole window."""
        return (self.kernel, self.stride, self.padding) == (1, 1, 0)

    def taps(self, place: int) -> tuple[int, int]:
        """The first tap within the tensor and the one after the last; of none, the kernel's size twice."""
        begin = place * self.stride - self.padding
        first, end = (-((begin - edge) // self.dilation) for edge in (0, self.size))
        first, end = max(0, first), min(self.kernel, end)
        return (first, end) if first < end else (self.kernel, self.kernel)

    def alike(self, place: int, stop: int) -> int:
        """The first place after ``place``, ``stop`` at most, whose taps within the tensor are others."""
        taps, end = self.taps(place), place + 1
        if taps == (0, self.kernel):
            last = (self.size + self.padding - self.dilation * (self.kernel - 1) - 1) // self.stride
            return min(stop, last + 1)
        while end < stop and self.taps(end) == taps:
            end += 1
        return end

    def places(self, tap: int) -> tuple[int, int]:
        """The first place where ``tap`` is within the tensor and the one after the last."""
        before = self.padding - tap * self.dilation
        return -(-before // self.stride), -(-(self.size + before) // self.stride)


def stored_channels(channels: int) -> int:
    """Channels of a position of INT4 in memory, an even number: whole bytes."""
    return channels + channels % 2


@dataclass(frozen=True, kw_only=True)
class Patches:
    """The windows of a convolution over an input of ``groups`` x ``channels`` channels; a line for each result of an image, images one after the other.

    ``size``, ``kernel``, ``stride``, ``dilation`` and ``padding`` have an entry for each of one to three spatial axes. In memory a position begins
    with a byte: channels of INT4 are padded to an even number, which without groups counts as k, with weights of zero.

    Raises:
        ValueError: A size is not positive, or the window is larger than the padded input.

    >>> patches = Patches(images=1, channels=3, size=(224, 224), kernel=(7, 7), stride=(2, 2), dilation=(1, 1), padding=(3, 3))
    >>> patches.out, patches.lines, patches.k(4), patches.k(8)
    ((112, 112), 12544, 196, 147)
    """

    images: int
    channels: int
    """Of a group."""
    size: tuple[int, ...]
    """Of an image, borders not counted."""
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[int, ...]
    """Positions of zeros on both sides."""
    groups: int = 1

    def __post_init__(self) -> None:
        axes = self.size, self.kernel, self.stride, self.dilation, self.padding
        if not 1 <= len(self.size) <= 3 or len({len(axis) for axis in axes}) != 1:
            raise ValueError(f"size must be of one to three axes, as all sizes, not {self.size}")
        for name in ("images", "channels", "groups", "size", "kernel", "stride", "dilation"):
            value = getattr(self, name)
            if min(value if isinstance(value, tuple) else (value,)) < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if min(self.padding) < 0:
            raise ValueError(f"padding must be at least 0, not {self.padding}")
        if min(self.out) < 1:
            raise ValueError(f"kernel must be at most the padded input, not {self.kernel}")

    @property
    def out(self) -> tuple[int, ...]:
        """Results along each spatial axis."""
        return tuple(axis.out for axis in self._spatial)

    @property
    def lines(self) -> int:
        """Results of all images."""
        return self.images * prod(self.out)

    def stored_channels(self, bits: int) -> int:
        """Channels of a group that a line has for each tap."""
        return stored_channels(self.channels) if bits == 4 and self.groups == 1 else self.channels

    def position_bytes(self, bits: int) -> int:
        """From position to position in memory, whole bytes."""
        return ceil(self.groups * self.channels * bits / 8)

    def whole_bytes(self, bits: int) -> bool:
        """Whether every group begins with a byte."""
        return self.stored_channels(bits) * bits % 8 == 0

    def joined(self, groups: int) -> "Patches":
        """The same tensor with so many groups as one.

        Raises:
            ValueError: That is no divisor of all groups.
        """
        if self.groups % groups:
            raise ValueError(f"groups must be a divisor of {self.groups}, not {groups}")
        return replace(self, groups=self.groups // groups, channels=groups * self.channels)

    def k(self, bits: int) -> int:
        """Elements of a line."""
        return prod(self.kernel) * self.stored_channels(bits)

    def input_bytes(self, bits: int) -> int:
        """Bytes of the whole tensor."""
        return self.images * prod(self.size) * self.position_bytes(bits)

    @property
    def _spatial(self) -> tuple[Axis, ...]:
        return tuple(map(Axis, self.size, self.kernel, self.stride, self.dilation, self.padding))

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """Images' and spatial axes, neighbours that are one axis in memory and in the results joined; two at least."""
        joined: list[Axis] = [Axis(self.images)]
        for axis in self._spatial:
            if axis.plain and (joined[-1].plain or axis.size == 1):
                joined[-1] = joined[-1]._replace(size=joined[-1].size * axis.size)
            elif joined[-1] == Axis(1):
                joined[-1] = axis
            else:
                joined.append(axis)
        return (Axis(1),) * (2 - len(joined)) + tuple(joined)
