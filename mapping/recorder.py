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
from functools import cache
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
from lanewise.mapping.numbers_of_constants import with_numbers
from lanewise.mapping.recorder_values import asks, everything, where_values_are
from lanewise.mapping.rules.movement import SHAPE_ONLY
from lanewise.mapping.versions import Versions


@dataclass(frozen=True, slots=True)
class _Recipe:
    """An operator's arguments with references for tensors, and the value of each tensor by identity."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    values: dict[int, int | None]


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
        if outs := _outs(func):
            return self._into(func, args, kwargs, outs)
        call = _call(func, args, kwargs)
        if func is torch.ops.aten.dropout_.default and not call["train"]:
            return call["self"]
        form = canonical(call)
        if form is None and call.name not in SHAPE_ONLY:
            parts = self._parts(func, call, args, kwargs)
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
        if form.kind == "elementwise" and len(form.tensors) > 1:
            constants = [tensor for tensor in form.tensors if self._versions.constant(tensor)]
            if 0 < len(constants) < len(form.tensors):
                form = with_numbers(form, self._number)
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

    def _number(self, tensor: Tensor, *, alone: bool) -> float | None:
        """The number that a constant without a name holds in all of its places; ``alone``: it has one place at most."""
        if tensor.dtype.is_complex or (alone and tensor.numel() != 1) or not self._versions.constant(tensor):
            return None
        return self._builder.number(self._versions.read(tensor))

    def _parts(self, func: Any, call: Call, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """What an operator gives that is recorded as several; ``NotImplemented``: it is not."""
        parts: Any = NotImplemented
        mutable = func._schema.is_mutable
        if call.name in DECOMPOSITIONS and not all(map(self._versions.constant, call.tensors)):
            with self:
                parts = DECOMPOSITIONS[call.name](*args, **kwargs)
            if parts is not NotImplemented and mutable:
                (target,) = _written(func, call)
                self._overwrite(target, parts)
                return target
        if parts is NotImplemented:
            with self:
                parts = func.decompose(*args, **kwargs)
        return parts

    def _into(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], names: Sequence[str]) -> Any:
        """An operator with ``out=``: the same without it, whose results take the place of what the tensors held."""
        given = {name: value for name, value in kwargs.items() if name not in names}
        with self:
            found = func._overloadpacket(*args, **given)
        targets = [kwargs[name] for name in names]
        for target, result in zip(targets, tensors_in(found), strict=True):
            if target.shape != result.shape:
                if target.numel():
                    raise ValueError(
                        f"out= of {func} must have the shape {tuple(result.shape)}, not {tuple(target.shape)}"
                    )
                target.resize_(result.shape)
            self._overwrite(target, result)
        return targets[0] if len(targets) == 1 else tuple(targets)

    def _overwrite(self, target: Tensor, result: Tensor) -> None:
        """``target`` holds ``result`` from now on; nothing moves unless its type is another."""
        if target.dtype != result.dtype or target.shape != result.shape:
            with self:
                target.copy_(result)
            return
        value = self._versions.read(result)
        target.copy_(result)
        self._versions.write(target, value)

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
        wants = asks(func, args) and any(t.is_meta for t in tensors_in((args, kwargs)))
        if recipe is None and wants and func is torch.ops.aten.index.Tensor:
            args = (args[0], [everything(index) for index in args[1]])
        if recipe is None or not wants:
            args, kwargs = where_values_are(func, args, kwargs)
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


@cache
def _outs(func: Any) -> tuple[str, ...]:
    """The arguments that an operator only writes to, ``out=``."""
    return tuple(argument.name for argument in func._schema.arguments if argument.is_out)


@cache
def _arguments(func: Any) -> tuple[tuple[str, bool, Any], ...]:
    """Of each argument its name, whether it has a default, and that."""
    return tuple(
        (each.name, each.has_default_value(), each.default_value if each.has_default_value() else None)
        for each in func._schema.arguments
    )


def _call(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call:
    schema = func._schema
    space, _, name = schema.name.partition("::")
    if schema.is_mutable and name.endswith("_"):
        name = name.removesuffix("_")
    arguments = {}
    for place, (argument, has_default, default) in enumerate(_arguments(func)):
        if place < len(args):
            arguments[argument] = args[place]
        elif argument in kwargs:
            arguments[argument] = kwargs[argument]
        elif has_default:
            arguments[argument] = default
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
