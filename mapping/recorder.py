"""Records the operators that a module runs: a dispatch mode around one forward pass.

In inference mode PyTorch hands over its composite operators whole (``linear``, ``matmul``, attention,
``reshape``), so that what is recorded is what the network means and not how the CPU's kernels happen to
split it. Operators without a canonical form are taken apart by PyTorch; what cannot be taken apart is
recorded as ``other``.

* An operator that reads no input is folded at compile time; unless it is random, which makes it ``other``.
* Results that share memory with an operand are views: no data moves.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from lanewise.mapping.aliases import storage_key
from lanewise.mapping.builder import GraphBuilder
from lanewise.mapping.canonical import Call, Canonical, canonical, tensors_in
from lanewise.mapping.constants import Reference
from lanewise.mapping.decompositions import DECOMPOSITIONS
from lanewise.mapping.graph import Graph
from lanewise.mapping.names import ModulePath
from lanewise.mapping.rules.movement import SHAPE_ONLY
from lanewise.mapping.versions import Versions


@dataclass(frozen=True, slots=True)
class _Recipe:
    """An operator's arguments with references for tensors, and the value of each tensor by identity."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    values: dict[int, int | None]


_ASKING = frozenset((torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape))
"""Operators that need values and not shapes alone."""


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Turns one forward pass into a :class:`Graph`.

    Args:
        module: The network; its parameters and buffers are known by their names.
        inputs: The tensors that the network reads, by name.
    """

    def __init__(self, module: torch.nn.Module, inputs: Mapping[str, Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._path = ModulePath(module)
        self._builder = GraphBuilder(self._path)
        self._versions = Versions(self._builder)
        for name, tensor in inputs.items():
            self._versions.register(tensor, self._builder.leaf(tensor, "input", name))
        for name, parameter in module.named_parameters():
            self._versions.register(parameter, self._builder.leaf(parameter, "parameter", name))
        shapes_only = any(tensor.is_meta for tensor in inputs.values())
        for name, buffer in module.named_buffers():
            value = self._builder.leaf(buffer, "constant", name)
            self._versions.register(buffer, value)
            if shapes_only:
                self._builder.constants.give(value, buffer)

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
        """What was recorded; ``results`` is what the module returned."""
        outputs = dict.fromkeys(self._versions.read(tensor) for tensor in tensors_in(results))
        return self._builder.graph(model, versions, tuple(outputs))

    @property
    def known(self) -> Mapping[int, Tensor]:
        """What :meth:`graph` folded, by the id of its value, if the network ran on real numbers."""
        return self._builder.known

    # Dispatch

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one operator and record it, or hand it back in parts that come here again."""
        kwargs = kwargs or {}
        call = _call(func, args, kwargs)
        if func is torch.ops.aten.dropout_.default and not call["train"]:
            return call["self"]
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
        if self._deferrable(func, form):
            result = func(*args, **kwargs)
            if self._defer(call, form, result):
                return result
        reads = [self._versions.read(tensor) for tensor in form.tensors]
        recipe = self._recipe(args, kwargs, shape_only=call.name in SHAPE_ONLY)
        try:
            result = self._run(func, args, kwargs, recipe)
        except Exception as error:
            error.add_note(f"while tracing {func} in module {self._path.current or '(the network itself)'}")
            raise
        outputs = self._record(func, call, form, reads, result)
        if recipe is not None and outputs and not self._builder.computed(outputs):
            overwritten = [recipe.values[id(tensor)] for tensor in _written(func, call)]
            self._builder.constants.define(outputs, overwritten, func, recipe.args, recipe.kwargs)
        return result

    def _deferrable(self, func: Any, form: Canonical) -> bool:
        """Whether it makes a view (if it makes one) of a tensor that is out of date."""
        returns = func._schema.returns
        view = len(form.tensors) == 1 and len(returns) == 1 and returns[0].alias_info is not None
        return view and not func._schema.is_mutable and self._versions.stale(form.tensors[0])

    def _defer(self, call: Call, form: Canonical, result: Any) -> bool:
        """Leave a view for later; false if it is none (it had to be copied)."""
        (source,) = form.tensors
        if not isinstance(result, Tensor) or result is source or storage_key(result) != storage_key(source):
            return False
        self._versions.defer(result, source, {"operation": call.name, **form.attributes})
        return True

    def _recipe(self, args: Sequence[Any], kwargs: Mapping[str, Any], *, shape_only: bool) -> _Recipe | None:
        """The arguments with a reference for each tensor; ``None`` if one of them is no constant."""
        values: dict[int, int | None] = {}
        for tensor in tensors_in((args, kwargs)):
            if self._versions.constant(tensor):
                values[id(tensor)] = self._versions.read(tensor)
            elif shape_only:
                values[id(tensor)] = None
            else:
                return None
        positional, named = tree_map_only(
            Tensor, lambda t: Reference(values[id(t)], t), (tuple(args), dict(kwargs))
        )
        return _Recipe(positional, named, values)

    def _run(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], recipe: _Recipe | None) -> Any:
        """Run an operator; where it asks for a constant's value on the meta device, find that out."""
        asks = _asks(func, args) and any(t.is_meta for t in tensors_in((args, kwargs)))
        if recipe is None and asks and func is torch.ops.aten.index.Tensor:
            args = (args[0], [_everything(index) for index in args[1]])
        if recipe is None or not asks:
            args, kwargs = _where_values_are(func, args, kwargs)
            return func(*args, **kwargs)
        try:
            answer = self._builder.constants.call(func, recipe.args, recipe.kwargs)
        except LookupError as error:
            raise RuntimeError(f"{func} asks for a value: {error}") from None
        if func.name().startswith("aten::to."):
            return answer
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
        if not results and not (form.kind == "other" and self._builder.computed(reads)):
            return []  # an operand itself comes back: nothing was done
        kind, function, attributes = form.kind, form.function, dict(form.attributes)
        aliasing = bool(fresh) and not written and all(storage_key(tensor) in storages for tensor in fresh)
        if kind == "movement" or aliasing:
            kind, function = "movement", "view" if aliasing or in_place_view else "copy"
            attributes.setdefault("operation", call.name)
        elif kind == "elementwise" and any(tensor.is_complex() for tensor in (*form.tensors, *results)):
            kind, function, attributes = "other", f"complex_{function}", {}
        elif kind == "matmul":
            attributes["weight"] = not all(self._builder.computed([i]) for i in reads[:2])
        outputs = self._builder.emit(
            kind, function, reads, results, attributes, label=call.name, foldable=not random
        )
        for tensor, value in zip(results, outputs):
            if id(tensor) not in operands or in_place_view:
                self._versions.register(tensor, value)
            else:
                self._versions.write(tensor, value)
        return outputs


def _asks(func: Any, args: Sequence[Any]) -> bool:
    """Whether an operator needs values and not shapes alone; picking by integers does not."""
    if func is torch.ops.aten.index.Tensor:
        return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
    if func.name().startswith("aten::to."):  # as ``tolist`` does first
        return torch.device("cpu") in args
    return not _ASKING.isdisjoint(func.tags)


def _where_values_are(
    func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """The arguments on one device: known values stay known, unless they meet a tensor that has none."""
    tensors = [tensor for tensor in tensors_in((args, kwargs)) if tensor.dim()]
    places = {tensor.is_meta for tensor in tensors}
    if True in places and func is torch.ops.aten.masked_fill.Tensor:  # wants its number there, too
        return tree_map_only(Tensor, lambda t: t.to("meta"), (tuple(args), dict(kwargs)))  # type: ignore[no-any-return]
    if len(places) > 1:  # an index without a value, an operand with one, or the reverse
        if func is torch.ops.aten.expand_as.default and not args[0].is_meta:
            return (args[0], args[0].new_empty(()).expand(args[1].shape)), kwargs
        if func in (
            torch.ops.aten.index.Tensor,
            torch.ops.aten.index_put_.default,
            torch.ops.aten.index_put.default,
        ):
            args = (args[0], _integers(args[1]), *args[2:])
        return tree_map_only(Tensor, lambda t: t if t.is_meta else t.to("meta"), (tuple(args), dict(kwargs)))  # type: ignore[no-any-return]
    if places == {False}:  # a value is not lost on the way to the meta device
        meta, cpu = torch.device("meta"), torch.device("cpu")
        return tree_map_only(torch.device, lambda d: cpu if d == meta else d, (tuple(args), dict(kwargs)))  # type: ignore[no-any-return]
    return args, kwargs


def _everything(index: Tensor | None) -> Tensor | None:
    """A mask that depends on an input's values, as if it left nothing out: the most that there can be to do."""
    if index is None or not index.is_meta or index.dtype not in (torch.bool, torch.uint8):
        return index
    return torch.ones(index.shape, dtype=torch.bool, device="cpu")


def _integers(indices: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Masks whose values are known, as the places that they name."""
    found: list[Tensor | None] = []
    for index in indices:
        if index is not None and index.dtype == torch.bool and not index.is_meta:
            found.extend(index.nonzero(as_tuple=True))
        else:
            found.append(index)
    return found


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
    return Call(
        name=name if space == "aten" else schema.name, overload=func._overloadname, arguments=arguments
    )


def _written(func: Any, call: Call) -> list[Tensor]:
    return [
        tensor
        for argument in func._schema.arguments
        if argument.alias_info is not None and argument.alias_info.is_write
        for tensor in tensors_in(call.arguments.get(argument.name))
    ]
