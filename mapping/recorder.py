"""Records the operators that a module runs: a dispatch mode around one forward pass.

In inference mode PyTorch hands over its composite operators whole (``linear``, ``matmul``, attention, ``reshape``), so what
is recorded is what the network means and not how the CPU kernels happen to split it. Operators without a canonical form are
taken apart by PyTorch; what cannot be taken apart is recorded as ``other``.

* A tensor is known by its identity; all that were seen are kept alive, so that no identity is used twice. Writes in place
  are versions: a tensor that shares memory with what was written is brought up to date when it is read.
* An operator that reads no input is folded at compile time; unless it is random, which makes it ``other``.
* Results that share memory with an operand are views: no data moves.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from lanewise.mapping.aliases import Region, storage_key
from lanewise.mapping.canonical import Call, Canonical, canonical, tensors_in
from lanewise.mapping.constants import Constants, Reference
from lanewise.mapping.decompositions import DECOMPOSITIONS
from lanewise.mapping.graph import Attribute, Graph, Operator, Origin, Value, operator_macs
from lanewise.mapping.names import ModulePath
from lanewise.mapping.rules.movement import SHAPE_ONLY


@dataclass(slots=True)
class _Known:
    """A tensor, the value it holds, and how many writes to its storage that value includes."""

    tensor: Tensor
    value: int
    writes: int


@dataclass(slots=True)
class _Storage:
    known: list[_Known] = field(default_factory=list)
    writes: list[tuple[Region, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Recipe:
    """An operator's arguments with references for tensors, and the value of each tensor by identity."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    values: dict[int, int | None]


_ASKING = frozenset((torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape))
"""Operators that need values and not shapes alone."""


class Recorder(TorchDispatchMode):
    """Turns one forward pass into a :class:`Graph`.

    Args:
        module: The network; its parameters and buffers are known by their names.
        inputs: The tensors that the network reads, by name.
    """

    def __init__(self, module: torch.nn.Module, inputs: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._values: list[Value] = []
        self._operators: list[Operator] = []
        self._folded: dict[str, int] = {}
        self._folded_macs = 0
        self._constants = Constants()
        self._known: dict[int, _Known] = {}
        self._storages: dict[int, _Storage] = {}
        self._path = ModulePath(module)
        for name, tensor in inputs.items():
            self._register(tensor, self._leaf(tensor, "input", name))
        for name, parameter in module.named_parameters():
            self._register(parameter, self._leaf(parameter, "parameter", name))
        for name, buffer in module.named_buffers():
            self._register(buffer, self._leaf(buffer, "constant", name))

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record everything that runs inside the block."""
        fast_path = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # a fused encoder layer would hide its operators
        try:
            with torch.inference_mode(), self._path.following(), self:
                yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast_path)

    def graph(self, model: str, versions: Mapping[str, str], results: Any) -> Graph:
        """What was recorded; ``results`` is what the module returned. Values that nobody reads are left out."""
        outputs = tuple(dict.fromkeys(self._read(tensor) for tensor in tensors_in(results)))
        used = {i for operator in self._operators for i in (*operator.inputs, *operator.outputs)} | set(outputs)
        kept = [value for value in self._values if value.id in used or value.origin == "input"]
        place = {value.id: index for index, value in enumerate(kept)}
        return Graph(
            model=model,
            versions=versions,
            operators=tuple(
                Operator(
                    index=o.index, name=o.name, kind=o.kind, function=o.function, attributes=o.attributes,
                    inputs=tuple(place[i] for i in o.inputs), outputs=tuple(place[i] for i in o.outputs),
                )
                for o in self._operators
            ),
            values=tuple(
                Value(
                    id=place[v.id], shape=v.shape, dtype=v.dtype, producer=v.producer, origin=v.origin, name=v.name
                )
                for v in kept
            ),
            outputs=tuple(place[i] for i in outputs),
            folded=self._folded,
            folded_macs=self._folded_macs,
        )  # fmt: skip

    # Dispatch

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run one operator and record it, or hand it back in parts that come here again."""
        kwargs = kwargs or {}
        call = _call(func, args, kwargs)
        form = canonical(call)
        if form is None and call.name not in SHAPE_ONLY:
            with self:
                if call.name in DECOMPOSITIONS and not func._schema.is_mutable:
                    return DECOMPOSITIONS[call.name](*args, **kwargs)
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        if form is None:
            tensors = () if call.name in SHAPE_ONLY else call.tensors
            form = Canonical(kind="other", function=call.name, tensors=tensors)
        elif form.transposed_weight:
            left, right, *rest = form.tensors
            with self:
                right = right.t()
            form = Canonical(kind=form.kind, tensors=(left, right, *rest), attributes=form.attributes)
        reads = [self._read(tensor) for tensor in form.tensors]
        recipe = self._recipe(args, kwargs, shape_only=call.name in SHAPE_ONLY)
        try:
            result = self._run(func, args, kwargs, recipe)
        except Exception as error:
            error.add_note(f"while tracing {func} in module {self._path.current or '(the network itself)'}")
            raise
        outputs = self._record(func, call, form, reads, result)
        if recipe is not None and outputs and not self._computed(outputs):
            overwritten = [recipe.values[id(tensor)] for tensor in _written(func, call)]
            self._constants.define(outputs, overwritten, func, recipe.args, recipe.kwargs)
        return result

    def _recipe(self, args: Sequence[Any], kwargs: Mapping[str, Any], *, shape_only: bool) -> _Recipe | None:
        """The arguments with a reference for each tensor; ``None`` if one of them is no constant."""
        values: dict[int, int | None] = {}
        for tensor in tensors_in((args, kwargs)):
            value = self._read(tensor)
            if self._values[value].origin == "constant":
                values[id(tensor)] = value
            elif shape_only:
                values[id(tensor)] = None
            else:
                return None
        args, kwargs = tree_map_only(Tensor, lambda t: Reference(values[id(t)], t), (tuple(args), dict(kwargs)))
        return _Recipe(args, kwargs, values)

    def _run(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], recipe: _Recipe | None) -> Any:
        """Run an operator; where it asks for a constant's value on the meta device, find that out."""
        asks = not _ASKING.isdisjoint(func.tags) and any(t.is_meta for t in tensors_in((args, kwargs)))
        if recipe is None or not asks:
            if len({tensor.is_meta for tensor in tensors_in((args, kwargs)) if tensor.dim()}) > 1:  # constants on the CPU
                args, kwargs = tree_map_only(Tensor, lambda t: t if t.is_meta else t.to("meta"), (tuple(args), kwargs))
            return func(*args, **kwargs)
        try:
            answer = self._constants.call(func, recipe.args, recipe.kwargs)
        except LookupError as error:
            raise RuntimeError(f"{func} asks for a value: {error}") from None
        return tree_map_only(Tensor, lambda tensor: tensor.to("meta"), answer)

    def _record(self, func: Any, call: Call, form: Canonical, reads: list[int], result: Any) -> list[int]:
        """Returns the ids of the results: new tensors first, then those written in place."""
        operands = {id(tensor) for tensor in call.tensors}
        written = [tensor for tensor in _written(func, call) if id(tensor) in operands]
        fresh = [tensor for tensor in tensors_in(result) if id(tensor) not in operands]
        storages = {storage_key(tensor) for tensor in call.tensors}
        in_place_view = torch.Tag.inplace_view in func.tags
        results = [*fresh, *written]
        random = form.kind == "other" and torch.Tag.nondeterministic_seeded in func.tags
        if not results and not (form.kind == "other" and self._computed(reads)):
            return []  # an operand itself comes back: nothing was done
        kind, function, attributes = form.kind, form.function, dict(form.attributes)
        aliasing = bool(fresh) and not written and all(storage_key(tensor) in storages for tensor in fresh)
        if kind == "movement" or aliasing:
            kind, function = "movement", "view" if aliasing or in_place_view else "copy"
            attributes.setdefault("operation", call.name)
        elif kind == "elementwise" and any(tensor.is_complex() for tensor in (*form.tensors, *results)):
            kind, function, attributes = "other", f"complex_{function}", {}
        elif kind == "matmul":
            attributes["weight"] = not all(self._computed([i]) for i in reads[:2])
        outputs = self._emit(kind, function, reads, results, attributes, label=call.name, foldable=not random)
        for tensor, value in zip(results, outputs):
            if id(tensor) not in operands or in_place_view:
                self._register(tensor, value)
            else:
                self._write(tensor, value)
        return outputs

    def _emit(
        self, kind: str, function: str, reads: Sequence[int], results: Sequence[Tensor],
        attributes: Mapping[str, Attribute], *, label: str, foldable: bool = True,
    ) -> list[int]:  # fmt: skip
        """Append an operator, or fold it; returns the ids of its results."""
        if foldable and not self._computed(reads):
            self._folded[label] = self._folded.get(label, 0) + 1
            origins = {self._values[i].origin for i in reads}
            origin: Origin = "parameter" if "parameter" in origins else "constant"
            name = self._values[reads[0]].name if len(reads) == 1 else ""
            outputs = [self._leaf(tensor, origin, name) for tensor in results]
            folded = Operator(
                index=0, name=label, kind=kind, inputs=tuple(reads), outputs=tuple(outputs), attributes=attributes
            )
            self._folded_macs += operator_macs(folded, self._values)
            return outputs
        index = len(self._operators)
        outputs = [self._leaf(tensor, "operator", "", index) for tensor in results]
        self._operators.append(
            Operator(
                index=index, name=self._path.name(_label(kind, function, attributes), is_view=function == "view"),
                kind=kind, function=function, inputs=tuple(reads), outputs=tuple(outputs), attributes=attributes,
            )
        )  # fmt: skip
        return outputs

    # Values

    def _computed(self, reads: Sequence[int]) -> bool:
        """Whether one of the values depends on an input."""
        return any(self._values[i].origin in ("input", "operator") for i in reads)

    def _leaf(self, tensor: Tensor, origin: Origin, name: str = "", producer: int | None = None) -> int:
        value = Value(
            id=len(self._values), shape=tuple(tensor.shape), dtype=str(tensor.dtype).removeprefix("torch."),
            producer=producer, origin=origin, name=name,
        )  # fmt: skip
        self._values.append(value)
        return value.id

    def _register(self, tensor: Tensor, value: int) -> None:
        storage = self._storages.setdefault(storage_key(tensor), _Storage())
        known = _Known(tensor, value, len(storage.writes))
        self._known[id(tensor)] = known
        storage.known.append(known)

    def _write(self, tensor: Tensor, value: int) -> None:
        if id(tensor) not in self._known:
            self._register(tensor, value)
        known = self._known[id(tensor)]
        storage = self._storages[storage_key(tensor)]
        storage.writes.append((Region.of(tensor), value))
        known.value, known.writes = value, len(storage.writes)

    def _read(self, tensor: Tensor) -> int:
        """Id of the value that ``tensor`` holds now."""
        known = self._known.get(id(tensor))
        if known is None:
            self._adopt(tensor)
            known = self._known[id(tensor)]
        storage = self._storages[storage_key(tensor)]
        if known.writes < len(storage.writes):
            known.value = self._after_writes(tensor, known.value, storage.writes[known.writes :])
            known.writes = len(storage.writes)
        return known.value

    def _after_writes(self, tensor: Tensor, value: int, writes: Sequence[tuple[Region, int]]) -> int:
        """What ``tensor`` held as ``value``, after writes to its storage.

        What was written in pieces is put together by one movement: ``update``, whose first operand is the old value.
        """
        mine = Region.of(tensor)
        pieces: list[int] = []
        whole = True
        for region, written in writes:
            match mine.seen_from(region):
                case "same":
                    value, whole, pieces = written, True, []
                case "inside":
                    value, whole, pieces = written, False, []
                case "overlapping":
                    pieces.append(written)
        if not whole:
            value = self._emit("movement", "view", [value], [tensor], {"operation": "alias"}, label="alias")[0]
        if pieces:
            attributes: dict[str, Attribute] = {"operation": "update"}
            value = self._emit("movement", "copy", [value, *pieces], [tensor], attributes, label="update")[0]
        return value

    def _adopt(self, tensor: Tensor) -> None:
        """A tensor that no recorded operator made: a constant, or an alias made behind the dispatcher (``x.data``)."""
        storage = self._storages.get(storage_key(tensor))
        if storage is None:
            value = self._leaf(tensor, "constant")
            self._register(tensor, value)
            self._constants.give(value, tensor)
            return
        mine = Region.of(tensor)
        sources = [known.tensor for known in storage.known]
        source = next((s for s in sources if mine.seen_from(Region.of(s)) in ("same", "inside")), sources[0])
        reads = [self._read(source)]
        value = self._emit("movement", "view", reads, [tensor], {"operation": "alias"}, label="alias")[0]
        self._register(tensor, value)


def _call(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call:
    schema = func._schema
    space, _, name = schema.name.partition("::")
    if schema.is_mutable and name.endswith("_"):
        name = name.removesuffix("_")
    arguments = {}
    for place, argument in enumerate(schema.arguments):
        if place < len(args):
            arguments[argument.name] = args[place]
        elif argument.name in kwargs:
            arguments[argument.name] = kwargs[argument.name]
        elif argument.has_default_value():
            arguments[argument.name] = argument.default_value
    return Call(name=name if space == "aten" else schema.name, overload=func._overloadname, arguments=arguments)


def _written(func: Any, call: Call) -> list[Tensor]:
    return [
        tensor
        for argument in func._schema.arguments
        if argument.alias_info is not None and argument.alias_info.is_write
        for tensor in tensors_in(call.arguments.get(argument.name))
    ]


def _label(kind: str, function: str, attributes: Mapping[str, Attribute]) -> str:
    return str(attributes["operation"]) if kind == "movement" else function or kind
