"""A program of ``torch.export`` as a module: its graph is run node by node, with sizes as they come."""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from lanewise.errors import UserError
from lanewise.mapping.pt2_archive import DTYPES, Pt2Archive

NAMESPACES = ("aten", "prims", "torchvision")
"""Of the operators that a graph may call."""

MOST_BITS = 256
"""Of a size: products of products would have more and more."""


def _counted(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Of numbers alone: text and lists would grow."""

    def checked(a: Any, b: Any) -> Any:
        if not isinstance(a, int | float) or not isinstance(b, int | float):
            raise TypeError(f"expected numbers, not {type(a).__name__} and {type(b).__name__}")
        result = function(a, b)
        if isinstance(result, int) and result.bit_length() > MOST_BITS:
            raise ValueError(f"a size has more than {MOST_BITS} bits")
        return result

    return checked


def _power(a: Any, b: Any) -> Any:
    """Of numbers that are no larger than sizes can be."""
    if isinstance(a, int) and isinstance(b, int) and a.bit_length() * abs(b) > MOST_BITS:
        raise ValueError(f"a size has more than {MOST_BITS} bits")
    return a**b


_NUMBERS: Mapping[str, Callable[..., Any]] = {
    **{
        f"_operator.{name}": getattr(operator, name)
        for name in (
            "and_", "eq", "floordiv", "ge", "getitem", "gt", "le", "lt", "mod", "ne", "neg", "or_", "pos", "sub", "truediv",
        )
    },
    "_operator.add": _counted(operator.add), "_operator.mul": _counted(operator.mul), "_operator.pow": _power,
    **{f"math.{name}": getattr(math, name) for name in ("ceil", "floor", "trunc", "sqrt")},
    "torch.sym_float": float, "torch.sym_int": int, "torch.sym_max": max, "torch.sym_min": min,
    "torch.sym_not": operator.not_, "torch._sym_sqrt": math.sqrt,
    "torch.sym_ite": lambda condition, yes, no: yes if condition else no,
    "torch.sym_sum": sum,
}  # fmt: skip
"""What may be done with sizes."""

_CHECKS = (
    "torch.ops.aten._assert_scalar.default", "torch.ops.aten._assert_async.msg",
    "torch.ops.aten._assert_tensor_metadata.default", "torch.ops.aten.sym_constrain_range.default",
    "torch.ops.aten.sym_constrain_range_for_size.default",
)  # fmt: skip
"""Operators that only check."""

_INLINED = {
    "torch.ops.higher_order.wrap_with_set_grad_enabled": 1,
    "torch.ops.higher_order.wrap_with_autocast": 4,
}
"""Operators that run a graph as it is, and the place of the graph among their operands."""

_FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}


class Pt2Module(nn.Module):
    """Runs an exported program on the ``meta`` device. Weights have the names that the module's had.

    Args:
        archive: The program.

    Raises:
        UserError: It calls an operator that is none of PyTorch's, or no tensor is among its inputs.
    """

    def __init__(self, archive: Pt2Archive) -> None:
        super().__init__()
        self._path = archive.path
        self._check(archive.graph)
        self._places: dict[str, str] = {}
        """Name of the weight that stands for each of the graph's inputs that is one."""
        self._constants: dict[str, Tensor] = {}
        self.inputs: list[str] = []
        for spec in archive.signature["input_specs"]:
            ((kind, item),) = spec.items()
            if kind == "user_input":
                self.inputs.append(next(iter(item["arg"].values()))["name"] if _named(item["arg"]) else "")
            elif kind in ("parameter", "buffer"):
                name = item[f"{kind}_name"]
                weight = archive.weights.get(name, archive.constants.get(name))
                if weight is None:
                    raise UserError(f"{archive.path}: has no weight {name}; expected those of its graph")
                self._places[item["arg"]["name"]] = name
                self._register(name, weight.to("meta"), parameter=kind == "parameter")
            elif kind == "tensor_constant":
                self._constants[item["arg"]["name"]] = archive.constants[item["tensor_constant_name"]]
            elif kind != "constant_input":
                raise UserError(f"{archive.path}: takes a {kind}; expected tensors alone")
        kinds = [next(iter(spec)) for spec in archive.signature["output_specs"]]
        self._results = [
            result
            for result, kind in zip(archive.graph["outputs"], kinds, strict=True)
            if kind == "user_output"
        ]
        self._steps = self._grouped(archive.graph["nodes"])

    def forward(self, **inputs: Any) -> Any:
        """The program's results, in order, for its inputs by the graph's names."""
        values: dict[str, Any] = dict(inputs) | self._constants
        for name, weight in self._places.items():
            values[name] = self._weight(weight)
        try:
            for part, nodes in self._steps:
                part(self._run, nodes, values)
        except (ArithmeticError, MemoryError) as error:
            raise ValueError(str(error) or type(error).__name__) from error
        return tuple(self._argument(result, values) for result in self._results)

    # Structure

    def _check(self, graph: Mapping[str, Any]) -> None:
        for node in graph["nodes"]:
            self._part(_module_path(node))  # all before the network runs, so that each has its name
            target = node["target"]
            for argument in node["inputs"]:
                if "as_graph" in argument["arg"]:
                    self._check(argument["arg"]["as_graph"]["graph"])
            if target not in _NUMBERS and target not in _CHECKS and target not in _INLINED:
                self._operator(target)

    def _operator(self, target: str) -> Any:
        """The operator of that name.

        Raises:
            UserError: PyTorch has none, or it belongs to no namespace that is allowed.
        """
        parts = target.split(".")
        found: Any = None
        if len(parts) == 5 and parts[:2] == ["torch", "ops"] and parts[2] in NAMESPACES:
            packet = getattr(getattr(torch.ops, parts[2]), parts[3], None)
            found = getattr(packet, parts[4], None)
        files = [a.name for a in found._schema.arguments if "file" in a.name] if found is not None else []
        if not isinstance(found, torch._ops.OpOverload) or files:
            raise UserError(
                f"{self._path}: operator {target} is unknown; expected one of torch.ops.{', '.join(NAMESPACES)}"
            )
        return found

    def _grouped(self, nodes: Sequence[Any]) -> list[tuple[nn.Module, list[Any]]]:
        """Nodes that follow each other in one module, with that module."""
        return [(self._part(path), list(group)) for path, group in groupby(nodes, key=_module_path)]

    def _part(self, path: str) -> nn.Module:
        """The (empty) module at a path, so that what runs in it is named after it."""
        part: nn.Module = self
        for name in filter(None, path.split(".")):
            if name not in part._modules:
                part._modules[name] = _Part()
            part = part._modules[name]  # type: ignore[assignment]
        return _Part() if part is self else part

    def _register(self, name: str, weight: Tensor, *, parameter: bool) -> None:
        path, _, leaf = name.rpartition(".")
        part = self._part(path) if path else self
        if parameter:
            part._parameters[leaf] = nn.Parameter(weight, requires_grad=False)
        else:
            part._buffers[leaf] = weight

    def _weight(self, name: str) -> Tensor:
        path, _, leaf = name.rpartition(".")
        part = self._part(path) if path else self
        weight: Tensor = getattr(part, leaf)
        return weight

    # Running

    def _run(self, nodes: Sequence[Any], values: dict[str, Any]) -> None:
        for node in nodes:
            target = node["target"]
            if target in _CHECKS:
                continue
            args, kwargs = [], {}
            schema = None if target in _NUMBERS or target in _INLINED else self._operator(target)
            keywords = () if schema is None else {a.name for a in schema._schema.arguments if a.kwarg_only}
            for item in node["inputs"]:
                value = self._argument(item["arg"], values)
                if item["name"] in keywords or (item.get("kind") == 2 and schema is not None):
                    kwargs[item["name"]] = value
                else:
                    args.append(value)
            if target in _INLINED:
                result = self._inlined(args, _INLINED[target])
            elif schema is not None:
                result = schema(*args, **kwargs)
            else:
                result = _NUMBERS[target](*args, **kwargs)
            self._bind(node["outputs"], result, values)

    def _inlined(self, args: Sequence[Any], place: int) -> Any:
        graph, operands = args[place], args[place + 1 :]
        inner = {_name(entry): value for entry, value in zip(graph["inputs"], operands)}
        for part, nodes in self._grouped(graph["nodes"]):
            part(self._run, nodes, inner)
        results = tuple(self._argument(result, inner) for result in graph["outputs"])
        return results[0] if len(results) == 1 else results

    def _bind(self, outputs: Sequence[Any], result: Any, values: dict[str, Any]) -> None:
        results = result if len(outputs) > 1 else (result,)
        for output, value in zip(outputs, results):
            ((kind, item),) = output.items()
            if kind in ("as_tensors", "as_optional_tensors"):
                for part, tensor in zip(item, value):
                    values[_name(part)] = tensor
            elif kind != "as_none":
                values[_name(output)] = value

    def _argument(self, argument: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
        """An operand as Python has it."""
        ((kind, item),) = argument.items()
        if kind in ("as_tensor", "as_optional_tensor"):
            name = item.get("name") if kind == "as_tensor" else item.get("as_tensor", {}).get("name")
            return None if name is None else values[name]
        if kind in ("as_tensors", "as_optional_tensors"):
            wrapped = "as_tensor" if kind == "as_tensors" else "as_optional_tensor"
            return [self._argument({wrapped: part}, values) for part in item]
        if kind in ("as_sym_int", "as_sym_float", "as_sym_bool"):
            return values[item["as_name"]] if "as_name" in item else next(iter(item.values()))
        if kind in ("as_sym_ints", "as_sym_floats", "as_sym_bools"):
            return [self._argument({kind[:-1]: part}, values) for part in item]
        if kind == "as_graph":
            return item["graph"]
        if kind == "as_none":
            return None
        plain: Mapping[str, Callable[[], Any]] = {
            "as_scalar_type": lambda: DTYPES[item],
            "as_memory_format": lambda: _FORMATS[item],
            "as_layout": lambda: torch.strided,
            "as_device": lambda: torch.device("meta"),
            "as_float": lambda: float(item),
            "as_floats": lambda: [float(part) for part in item],
            "as_complex": lambda: complex(item["real"], item["imag"]),
        }
        if kind in plain:
            return plain[kind]()
        if kind in ("as_int", "as_ints", "as_string", "as_strings", "as_bool", "as_bools", "as_int_lists"):
            return item
        raise ValueError(f"an operand {kind} is not known")


class _Part(nn.Module):
    """A module of the network that was exported."""

    def forward(self, run: Callable[[Any, Any], None], nodes: Any, values: Any) -> None:
        run(nodes, values)


def _named(argument: Mapping[str, Any]) -> bool:
    (item,) = argument.values()
    return isinstance(item, Mapping) and "name" in item


def _name(argument: Mapping[str, Any]) -> str:
    """The name of a value: of a tensor, a size, or an optional tensor."""
    if "name" in argument:
        return str(argument["name"])
    if "as_name" in argument:
        return str(argument["as_name"])
    (item,) = argument.values()
    return _name(item) if isinstance(item, Mapping) else ""


def _module_path(node: Mapping[str, Any]) -> str:
    """Path of the module that a node was exported from; empty for the network itself."""
    stack = node["metadata"].get("nn_module_stack", "")
    last = stack.rpartition(";")[2].split(",")
    path = last[1] if len(last) == 3 and not last[1].startswith("_empty") else ""
    return path.removeprefix("L['self']").lstrip(".").partition("@")[0]
