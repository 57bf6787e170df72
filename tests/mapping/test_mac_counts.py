"""The graph's multiply-accumulates are those of PyTorch's own counter, exactly."""

import pytest
import torch
from torch import nn

from lanewise.mapping.mac_counts import mac_counts
from lanewise.mapping.networks import load

SMALL = ("timm:test_vit", "timm:test_resnet", "timm:test_efficientnet", "timm:test_convnext", "timm:pit_ti_224", "hf:minilm")  # fmt: skip


@pytest.mark.parametrize("model", SMALL)
def test_small_networks_of_the_zoo(model):
    counts = mac_counts(*load(model), model=model)
    assert counts.alone
    assert counts.graph > 1e6
    assert (counts.difference, counts.reason) == (0, "")


class Calls(nn.Module):
    """A function as a module."""

    def __init__(self, call):
        super().__init__()
        self.call = call
        self.weight = nn.Parameter(torch.empty(6, 5))

    def forward(self, *inputs):
        return self.call(self, *inputs)


@pytest.mark.parametrize(
    ("module", "shape", "macs"),
    [
        (lambda: nn.Conv2d(6, 9, 3, stride=2, padding=1, groups=3), (2, 6, 8, 8), 2 * 9 * 4 * 4 * 2 * 9),
        (lambda: nn.Conv1d(6, 6, 5, dilation=2, groups=6), (1, 6, 20), 6 * 12 * 5),
        (lambda: nn.Conv3d(2, 3, 2), (1, 2, 4, 4, 4), 3 * 27 * 2 * 8),
        (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), (1, 4, 5, 5), 4 * 25 * 3 * 9),
        (lambda: nn.Linear(5, 7), (2, 3, 5), 6 * 35),
        (lambda: nn.LSTM(5, 4, batch_first=True), (2, 3, 5), 2 * 3 * (16 * 5 + 16 * 4)),
        (lambda: nn.MultiheadAttention(8, 2), None, 4 * 3 * 64 + 2 * 2 * 9 * 4),
        (lambda: Calls(lambda self, x: torch.einsum("bij,kj->bik", x, self.weight)), (2, 3, 5), 2 * 3 * 5 * 6),
    ],
    ids=["grouped", "dilated depthwise", "3-d", "transposed", "linear", "lstm", "attention", "einsum"],
)  # fmt: skip
def test_operators(module, shape, macs):
    with torch.device("meta"):
        built = module()
        inputs = (torch.empty(shape),) if shape else (torch.empty(3, 1, 8),) * 3
    counts = mac_counts(built, inputs)
    assert (counts.graph, counts.counted, counts.reason) == (macs, macs, "")


def test_what_is_folded_is_counted_beside():
    def call(self, x):
        return x @ (self.weight @ self.weight.t())  # the second reads no input

    with torch.device("meta"):
        counts = mac_counts(Calls(call), (torch.empty(4, 6),))
    assert (counts.graph, counts.folded, counts.counted) == (4 * 6 * 6, 6 * 6 * 5, 4 * 36 + 180)
    assert counts.difference == 0


def test_products_with_vectors_are_the_difference_and_its_reason():
    with torch.device("meta"):
        counts = mac_counts(Calls(lambda self, x: self.weight.t() @ (self.weight @ x)), (torch.empty(5),))
    assert counts.graph == 60
    assert counts.counted == 0
    assert dict(counts.uncounted) == {"aten.mv": 60}
    assert counts.unexplained == 0
    assert counts.reason == "not counted by PyTorch: aten.mv 60"


def test_a_network_that_reads_a_number_has_one_pass_for_both():
    def call(self, x):
        steps = torch.arange(3).sum().item()  # 3, which the meta device does not know
        return (x[:, : int(steps) + 2] @ self.weight[:5]) if steps == 3 else x

    with torch.device("meta"):
        module = Calls(call)
        counts = mac_counts(module, (torch.empty(4, 9),))
    assert not counts.alone
    assert (counts.graph, counts.counted) == (4 * 5 * 5, 4 * 5 * 5)
    assert module.weight.requires_grad


class Keeps(nn.Module):
    """Computes something in the first pass, then reads a number, which ``meta`` cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.kept = nn.Linear(8, 4), None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.kept is None:
            self.kept = self.linear(x)
        return self.kept * int(torch.ones(3, device=x.device).sum().item())


def test_what_a_network_keeps_of_a_pass_is_not_there_in_the_next():
    found = mac_counts(Keeps().to("meta"), (torch.empty(2, 8, device="meta"),))
    assert (found.graph, found.counted, found.alone) == (64, 64, False)


def test_a_difference_without_a_reason_is_said(monkeypatch):
    from lanewise.mapping.graph import Graph

    with torch.device("meta"):
        module, x = nn.Linear(5, 7), torch.empty(2, 5)
    monkeypatch.setattr(Graph, "macs", property(lambda _: 71))
    assert mac_counts(module, (x,)).reason == "unexplained: +1"
