"""Operators made of others: their graphs, executed operator by operator in PyTorch, are PyTorch's own results; their prices grow with their sizes."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from lanewise.config import load_config
from lanewise.mapping.expansion_parts import constant_elements
from lanewise.mapping.expansions import expanded
from lanewise.mapping.graph import Graph, Operator
from lanewise.mapping.kernels.price import price
from lanewise.mapping.lower import lower
from lanewise.mapping.trace import trace


class Function(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: Tensor) -> Any:
        return self.function(*tensors)


_RELATIONS: dict[str, Callable[[Any, Any], Tensor]] = {
    "equal": torch.eq, "less": torch.lt, "greater": torch.gt, "less_equal": torch.le, "greater_equal": torch.ge,
    "nan": torch.isnan,
}  # fmt: skip
_BINARY: dict[str, Callable[..., Tensor]] = {
    "add": torch.add, "subtract": torch.subtract, "multiply": torch.multiply, "divide": torch.divide,
    "minimum": torch.minimum, "maximum": torch.maximum, "logical_or": torch.logical_or, "logical_and": torch.logical_and,
    "reverse_subtract": lambda a, b: b - a,
}  # fmt: skip


def _movement(operator: Operator, tensors: list[Tensor], shape: tuple[int, ...]) -> Tensor:
    a, (x, *_) = operator.attributes, tensors
    match a["operation"]:
        case "reshape" | "alias":
            return x.reshape(shape)
        case "permute":
            return x.permute(a["permutation"])
        case "slice":
            return x[(slice(None),) * a["axis"] + (slice(a["start"], a["stop"], a["step"]),)]
        case "select":
            return x.select(a["axis"], a["start"])
        case "roll":
            return x.flip(a["axes"])
        case "pad":
            return F.pad(x, a["padding"], value=a["value"])
        case "concat":
            return torch.cat(tensors, a["axis"])
        case "expand":
            return x.expand(shape)
        case "clone":
            return x
        case "gather":
            return x[tensors[1].long()]
    raise AssertionError(a["operation"])


def _elementwise(operator: Operator, tensors: list[Tensor]) -> Tensor:
    a, (x, *_) = operator.attributes, tensors
    operands = [*tensors, *([torch.tensor(a["scalar"], dtype=x.dtype)] if "scalar" in a else [])]
    match operator.function:
        case "compare":
            return _RELATIONS[a["relation"]](*operands).to(x.dtype)
        case "select":
            rest = iter(tensors[1:])
            yes, no = (torch.tensor(a[name], dtype=x.dtype) if name in a else next(rest) for name in ("true", "false"))  # fmt: skip
            return torch.where(x != 0, yes, no)
        case "negate" | "floor" | "sqrt" | "cos" | "sin" | "abs" | "sign" | "round" | "relu":
            return {"negate": torch.neg}.get(operator.function, getattr(torch, operator.function, torch.neg))(
                x
            )
        case "pow":
            return x.pow(a["exponent"])
        case "clamp":
            return x.clamp(a["minimum"], a["maximum"])
        case "cast":
            return x.trunc() if "int" in a["to"] else x
    return _BINARY[operator.function](*operands).to(x.dtype)


def _one(operator: Operator, tensors: list[Tensor], shape: tuple[int, ...]) -> Tensor:
    a = operator.attributes
    match operator.kind:
        case "movement":
            return _movement(operator, tensors, shape)
        case "elementwise":
            return _elementwise(operator, tensors)
        case "reduce":
            (x,), axes = tensors, a["axes"]
            if operator.function == "cumsum":
                return x.cumsum(axes[0])
            return getattr(x, {"max": "amax"}.get(operator.function, operator.function))(
                axes, keepdim=a["keep"]
            )
        case "matmul":
            return tensors[0] @ tensors[1]
        case "embedding":
            return tensors[0][tensors[1].long()]
    raise AssertionError(f"{operator.kind} {operator.function} has no kernel")


def executed(graph: Graph, inputs: tuple[Tensor, ...], folded: dict[int, Tensor]) -> list[Tensor]:
    """The graph's results in FP64; every value has the shape that the graph says."""
    known = {value: tensor.double() for value, tensor in folded.items() if not tensor.is_complex()}
    known |= {
        value: torch.view_as_real(tensor).double() for value, tensor in folded.items() if tensor.is_complex()
    }
    given = iter(inputs)
    for value in graph.values:
        if value.origin == "input":
            known[value.id] = next(given).double()
        elif (elements := constant_elements(value)) is not None:
            known[value.id] = torch.tensor(elements, dtype=torch.float64).reshape(value.shape)
    for operator in graph.operators:
        (out,) = operator.outputs
        shape = graph.values[out].shape
        known[out] = _one(operator, [known[i] for i in operator.inputs], shape)
        assert known[out].shape == shape, operator
    return [known[value] for value in graph.outputs]


def _solve(matrix: Tensor, right: Tensor, **options: bool) -> Tensor:
    return torch.linalg.solve_triangular(matrix, right, **options)


def _sample(corners: bool, padding: str, mode: str = "bilinear") -> Callable[..., Tensor]:
    return lambda x, grid: F.grid_sample(x, grid, mode, padding, corners)


def _rotated(x: Tensor, angles: Tensor) -> Tensor:
    return torch.view_as_real(torch.view_as_complex(x) * torch.polar(torch.ones_like(angles), angles)[None])


X = (2, 3, 8)
CASES: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "argmax": (lambda x: x.argmax(-1), (X,)),
    "argmax of the middle axis, kept": (lambda x: x.argmax(1, keepdim=True), (X,)),
    "argmax of all": (torch.argmax, (X,)),
    "argmin": (lambda x: x.argmin(-1), (X,)),
    "the first of equals": (lambda x: x.sign().argmax(-1), ((5, 16),)),
    "topk": (lambda x: x.topk(3), (X,)),
    "topk, the smallest of the first axis": (lambda x: x.topk(2, 0, largest=False), ((7, 3),)),
    "topk of equals": (lambda x: x.sign().topk(9)[0], ((5, 16),)),
    "topk, many": (lambda x: x.topk(60), ((2, 100),)),
    "topk, indices alone": (lambda x: x.topk(2)[1], (X,)),
    "argmax of a long row": (lambda x: x.argmax(-1), ((2, 5000),)),
    "topk of long rows": (lambda x: x.topk(2), ((2, 5000),)),
    "sort of a long row": (lambda x: x.sort(-1), ((1, 2100),)),
    "sort": (lambda x: x.sort(-1), ((3, 13),)),
    "sort, descending, of the first axis": (lambda x: x.sort(0, descending=True), ((16, 2),)),
    "sort, stable": (lambda x: torch.sort(x.sign(), stable=True, dim=-1), ((3, 32),)),
    "sort, one": (lambda x: x.sort(-1), ((3, 1),)),
    "argsort": (lambda x: x.argsort(-1), ((4, 6),)),
    "histc": (lambda x: x.histc(7, -1.0, 1.5), ((50,),)),
    "histc of numbers": (lambda x: (x * 2).int().clamp(0, 5).float().histc(6, 0, 5), ((50,),)),
    "searchsorted": (lambda x, y: torch.searchsorted(x.abs().cumsum(-1), y.abs()), ((3, 9), (3, 5))),
    "bucketize": (lambda x: torch.bucketize(x, torch.tensor([-1.0, 0.0, 0.5]), right=True), (X,)),
    "repeat_interleave": (lambda x: torch.repeat_interleave((x > 0).int() + 1), ((6,),)),
    "fold": (lambda x: F.fold(x, (8, 7), 3, padding=1, stride=2), ((2, 18, 16),)),
    "fold of dilated kernels": (lambda x: F.fold(x, (9, 9), (3, 2), dilation=2, stride=1), ((1, 12, 35),)),
    "fold without overlaps": (lambda x: F.fold(x, (6, 8), 2, stride=2), ((2, 12, 12),)),
    "fold with gaps": (lambda x: F.fold(x, (7, 7), 2, stride=3), ((1, 8, 4),)),
    "product": (lambda x: x.prod(-1), ((3, 7),)),
    "product of all": (torch.prod, ((3, 2),)),
    "cumprod": (lambda x: x.cumprod(1), ((2, 7, 3),)),
    "solve": (lambda a, b: _solve(a + 8 * torch.eye(40), b, upper=False), ((2, 40, 40), (2, 40, 3))),
    "solve, upper": (lambda a, b: _solve(a + 8 * torch.eye(40), b, upper=True), ((2, 40, 40), (2, 40, 3))),
    "solve, unit": (lambda a, b: _solve(a / 8, b, upper=False, unitriangular=True), ((2, 64, 64), (2, 64, 5))),
    "sample": (_sample(False, "zeros"), ((2, 3, 5, 6), (2, 4, 7, 2))),
    "sample, corners": (_sample(True, "border"), ((2, 3, 5, 6), (2, 4, 7, 2))),
    "sample, cubic": (_sample(False, "zeros", "bicubic"), ((2, 3, 5, 6), (2, 4, 7, 2))),
    "sample, cubic, border": (_sample(False, "border", "bicubic"), ((2, 3, 5, 6), (2, 4, 7, 2))),
    "complex product": (_rotated, ((2, 3, 4, 2), (3, 4))),
    "FFT": (lambda x: torch.fft.fft2(x).real, ((2, 6, 10),)),
    "maximum and its place": (lambda x: x.max(-1), (X,)),
    "minimum and its place": (lambda x: x.min(1), (X,)),
    "minimum alone": (lambda x: x.min(1, keepdim=True)[0], (X,)),
    "isin": (lambda x: torch.isin(x.round(), torch.tensor([1.0, 0.0])).float(), (X,)),
    "nan_to_num": (lambda x: torch.nan_to_num(x.clamp(min=0) / x.clamp(min=0)), (X,)),
    "nan_to_num, numbers": (lambda x: torch.nan_to_num(x.clamp(min=0) / (x > 0.5), 2.0, 3.0, -4.0), (X,)),
    "cummax": (lambda x: x.cummax(1)[0], (X,)),
    "cummin": (lambda x: x.cummin(-1)[0], (X,)),
    "distances": (lambda x, y: torch.cdist(x[0], y[0], compute_mode="use_mm_for_euclid_dist"), (X, (1, 5, 8))),
    "mean of squares": (F.mse_loss, (X, X)),
    "real FFT": (lambda x: torch.view_as_real(torch.fft.rfft(x)), ((3, 9),)),
    "real FFT and back": (lambda x: torch.fft.irfft(torch.fft.rfft(x, dim=1), dim=1, n=8), ((3, 8, 2),)),
    "real FFT of two axes and back": (lambda x: torch.fft.irfft2(torch.fft.rfft2(x, norm="ortho"), norm="ortho"), ((2, 4, 6),)),
    "correlation": (lambda x: torch.fft.irfft(torch.fft.rfft(x) * torch.conj(torch.fft.rfft(x.flip(0)))), ((2, 8),)),
    "distances from a codebook": (lambda x: torch.cdist(x, torch.arange(12.0).reshape(1, 4, 3), compute_mode="use_mm_for_euclid_dist"), ((1, 5, 3),)),
    "inverse FFT": (lambda x: torch.view_as_real(torch.fft.ifft(torch.fft.fft(x, dim=1))), ((2, 6, 3),)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_expansions_compute_what_pytorch_computes(name: str) -> None:
    torch.manual_seed(5)
    function, shapes = CASES[name]
    inputs = tuple(torch.randn(shape) for shape in shapes)
    module, folded = Function(function).eval(), dict[int, Tensor]()
    graph = trace(module, inputs, folded=folded)
    assert expanded(graph) is not graph
    found = executed(expanded(graph), inputs, folded)
    wanted = function(*inputs)
    wanted = list(wanted) if isinstance(wanted, tuple) else [wanted]
    for mine, own in zip(found, wanted, strict=True):
        assert mine.shape == own.shape
        assert torch.allclose(mine, own.double(), atol=1e-4, rtol=1e-4)


def test_numbers_of_experts_are_counted_by_what_they_are() -> None:
    """PyTorch has no histogram of integers on the CPU; the graph is that of another device."""
    graph = trace(
        Function(lambda x: x.histc(128, 0, 127)), torch.empty(300, dtype=torch.int32, device="meta")
    )
    numbers = torch.randint(0, 128, (300,), generator=torch.Generator().manual_seed(1))
    (found,) = executed(expanded(graph), (numbers,), {})
    assert torch.equal(found, torch.bincount(numbers, minlength=128).double())


def _cycles(function: Callable[..., Any], *shapes: tuple[int, ...]) -> int:
    graph = trace(Function(function).eval(), tuple(torch.randn(shape) for shape in shapes))
    config = load_config(None)
    return sum(price(task.work.program(config), config).cycles for task in lower(graph).tasks)


@pytest.mark.parametrize(
    ("function", "small", "large"),
    [
        (lambda x: x.argmax(-1), (8, 16), (8, 512)),
        (lambda x: x.topk(2), (8, 16), (8, 256)),
        (lambda x: x.sort(-1), (1, 16), (1, 128)),
        (lambda x: x.histc(4, -1.0, 1.0), (32,), (4096,)),
        (lambda x: F.fold(x, (8, 8), 3, padding=1, stride=2), (1, 18, 16), (1, 288, 16)),
    ],
)
def test_prices_grow_with_sizes(
    function: Callable[..., Any], small: tuple[int, ...], large: tuple[int, ...]
) -> None:
    assert 0 < _cycles(function, small) < _cycles(function, large)


def test_what_steers_the_program_alone_is_no_task() -> None:
    def steered(x: Tensor) -> Tensor:
        return x + 1 if float(x[0, 0].item()) < math.inf else x

    graph = trace(Function(steered).eval(), torch.randn(2, 3))
    assert any(operator.function == "_local_scalar_dense" for operator in graph.operators)
    assert [task.kind for task in lower(graph).tasks] == ["elementwise"]


def test_what_nobody_reads_is_not_computed() -> None:
    def unread(x: Tensor) -> Tensor:
        x.topk(2)
        return x.relu()

    assert len(lower(trace(Function(unread).eval(), torch.randn(4, 8))).tasks) == 1
