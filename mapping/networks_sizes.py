"""Sizes of what a file of a network leaves open."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lanewise.errors import UserError
from lanewise.mapping.graph import Graph

LARGEST = 1 << 24
"""Of a size that is given by name."""


@dataclass(kw_only=True)
class Sizes:
    """The options that give sizes.

    A size by name comes first. Else the first axis of an input is the batch; the second of integers, or
    one whose name says so, the length of a sequence; the last two of pictures (rank 4) the resolution.
    """

    batch: int = 1
    sequence: int = 128
    resolution: int | None = None
    named: Mapping[str, int] = field(default_factory=dict)
    """By the file's name for the axis, or by ``INPUT.AXIS``."""
    _open: dict[str, None] = field(default_factory=dict)
    _bound: dict[str, int] = field(default_factory=dict)

    def bind(
        self, model: str, name: str, shape: Sequence[int | str | None], *, is_float: bool
    ) -> tuple[int, ...]:
        """The shape of input ``name`` without open axes.

        Args:
            model: For messages.
            name: The input.
            shape: A size, or the name of an open axis, or ``None`` for one without a name.
            is_float: Whether it holds floating-point numbers.

        Raises:
            UserError: An axis is open and no option gives its size, or an option contradicts the file.
        """
        return tuple(
            self.size(model, name, axis, len(shape), side, is_float=is_float)
            for axis, side in enumerate(shape)
        )

    def size(
        self, model: str, name: str, axis: int, rank: int, side: int | str | None, *, is_float: bool
    ) -> int:
        """One side of an input of ``rank`` axes, as of :meth:`bind`.

        Raises:
            UserError: As of :meth:`bind`.
        """
        if isinstance(side, int):
            self._agrees(model, name, axis, rank, side, is_float)
            return side
        place = f"{name}.{axis}"
        names = [place] if side is None else [side, place]
        self._open |= dict.fromkeys(names)
        given = next((self.named[key] for key in names if key in self.named), self._bound.get(side or ""))
        if given is None:
            given = self._by_role(axis, rank, side or "", is_float)
        if given is None:
            raise UserError(f"{model}: axis {axis} of input {name} has no size; expected --dim {names[0]}=N")
        if side is not None:
            self._bound[side] = given
        return given

    def check(self, model: str) -> None:
        """After all inputs.

        Raises:
            UserError: A size is given for an axis that is not open.
        """
        for name in self.named:
            if name not in self._open:
                known = ", ".join(self._open) or "none: all sizes are fixed"
                raise UserError(f"{model}: --dim {name}: is no open axis; expected one of {known}")

    def _by_role(self, axis: int, rank: int, name: str, is_float: bool) -> int | None:
        if axis == 0:
            return self.batch
        if "past" in name.lower() or "cache" in name.lower():
            return None
        if (axis == 1 and rank == 2 and not is_float) or any(
            part in name.lower() for part in ("seq", "length", "token")
        ):
            return self.sequence
        return self.resolution if rank == 4 and axis >= 2 and is_float else None

    def _agrees(self, model: str, name: str, axis: int, rank: int, side: int, is_float: bool) -> None:
        wanted = {0: self.batch if self.batch != 1 else None}.get(axis)
        option = "--batch"
        if rank == 4 and axis >= 2 and is_float:
            wanted, option = self.resolution, "--resolution"
        if wanted is not None and rank > 1 and wanted != side:
            raise UserError(
                f"{model}: {option}: axis {axis} of input {name} must be {side}, as the file says, not {wanted}"
            )


def check_used(graph: Graph, *, sequence: int | None, resolution: int | None) -> None:
    """That a network of timm or transformers takes what it is asked for: tokens, or pictures.

    Raises:
        UserError: It takes none.
    """
    if not graph.model.startswith(("timm:", "hf:")):
        return
    given = [value for value in graph.values if value.origin == "input"]
    floats = [value for value in given if value.dtype.startswith(("float", "bfloat"))]
    if resolution is not None and given and not floats:
        raise UserError(f"--resolution: {graph.model} takes no pictures; expected --sequence")
    pictures = bool(given) and all(len(value.shape) == 4 for value in floats) and len(floats) == len(given)
    if sequence is not None and pictures:
        raise UserError(f"--sequence: {graph.model} takes no tokens; expected --resolution")


def dims_of(model: str, dims: Mapping[str, int] | None) -> Mapping[str, int] | None:
    """The sizes by name, for the models of several that they are for: those that come from files."""
    return dims if model.startswith(("onnx:", "pt2:")) else None


def file_hash(path: Path) -> str:
    """Hash of a file's content.

    Raises:
        UserError: It cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; expected a file") from None
