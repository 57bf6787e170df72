"""What is measured of trained networks: the paper's claims, and what hardware arithmetic does to them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from lanewise.models.lsnn.integers import with_integers
from lanewise.models.lsnn.network import GeneratingNetwork
from lanewise.models.lsnn.stepping import Map
from lanewise.models.lsnn.symplecticity import defects, loop_defects
from lanewise.models.lsnn.tables import KINDS, table_pair
from lanewise.models.lsnn.trained import Trained

RADIUS = 0.5
"""Of loops, in standard deviations of the coordinates: smaller ones drown in FP32's rounding."""
POINTS = 256
"""Of a loop."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Symplecticity:
    """Largest ``|M^T J M - J|`` of maps over unseen states."""

    network: float
    """Of the generating-function network, in FP32 throughout."""
    plain: float
    """Of the plain MLP in FP32: the median over states, which favours it."""

    @property
    def ratio(self) -> float:
        """Plain over network."""
        return self.plain / self.network


def symplecticity(trained: Trained, states: int = 40) -> Symplecticity:
    """Of the small step's networks, by automatic differentiation in FP32, the fixed point's iterations included."""
    x = trained.unseen(states).float()
    network = trained.small.with_slopes(trained.small.slopes, torch.float32)
    own = defects(trained.step(network=network), x).max()
    plain = defects(trained.plain.float(), x).median()
    trained.plain.double()
    return Symplecticity(network=float(own), plain=float(plain))


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """Largest energy error of some orbits, in the first and in the last tenth of the steps."""

    first: float
    last: float

    @property
    def growth(self) -> float:
        """Last over first: about 1 if the error is bounded, 10 if it grows with time."""
        return self.last / self.first


def drift(
    trained: Trained, step: Map, *, orbits: int, steps: int, kind: torch.dtype = torch.float64
) -> Drift:
    """Of ``steps`` steps of unseen orbits, states in type ``kind``."""
    errors = trained.energy_errors(trained.orbit(step, trained.unseen(orbits).to(kind), steps))
    tenth = steps // 10
    return Drift(first=float(errors[: tenth + 1].max()), last=float(errors[-tenth:].max()))


@dataclass(frozen=True, kw_only=True, slots=True)
class LargeStep:
    """Median error of predictions so many small steps ahead."""

    steps: int
    large: float
    """Of one large step."""
    composed: float
    """Of small ones, one after the other."""
    plain: float
    """Of the plain MLP's, likewise."""


def large_steps(trained: Trained, orbits: int = 100) -> list[LargeStep]:
    """From the first partition to each later one, on unseen orbits, against our integrator."""
    farthest = max(trained.large, default=0)
    start = trained.unseen(orbits)
    composed = trained.orbit(trained.step(), start, farthest)
    plain = trained.orbit(trained.plain, start, farthest)
    found = []
    for steps in sorted(trained.large):
        pairs = trained.unseen_pairs(orbits, steps)
        one = trained.step(steps)(pairs.start)
        errors = [trained.distances(got, pairs.end) for got in (one, composed[steps], plain[steps])]
        large, small, other = (float(torch.nan_to_num(error, nan=torch.inf).median()) for error in errors)
        found.append(LargeStep(steps=steps, large=large, composed=small, plain=other))
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class TableDefect:
    """What a pair of tables does to the small step's map."""

    kind: str
    degree: int
    segments: int
    jacobian: float
    """Largest ``|M^T J M - J|``, by automatic differentiation in FP32 through the tables' polynomials."""
    loops: float
    """Largest change of a loop's area, over that area, with the hardware's FP32 bits."""
    error: float
    """Largest difference of one step from the network with tanh."""


def table_defects(
    trained: Trained, segments: Sequence[int], *, degrees: Sequence[int] = (1, 2), states: int = 20
) -> Iterator[TableDefect]:
    """Every kind of pair at every size."""
    x = trained.unseen(states)
    exact = trained.step()(x)
    for kind in KINDS:
        for degree in degrees:
            for count in segments:
                pair = table_pair(kind, segments=count, degree=degree)
                reals = trained.small.with_slopes(pair.reals(), torch.float32)
                bits = trained.step(network=trained.small.with_slopes(pair.bits(), torch.float32))
                yield TableDefect(
                    kind=kind, degree=degree, segments=count, jacobian=float(defects(trained.step(network=reals), x.float()).max()),
                    loops=loops(trained, bits, torch.float32, states), error=float((bits(x.float()) - exact).abs().max()),
                )  # fmt: skip


def loops(trained: Trained, step: Map, kind: torch.dtype, states: int) -> float:
    """Largest change of the area of loops around unseen states, over that area; states in type ``kind``."""
    x = trained.unseen(states).to(kind)
    sizes = RADIUS * trained.small.spread
    return float(loop_defects(step, x, radius=sizes, points=POINTS, seed=trained.seed).max())


@dataclass(frozen=True, kw_only=True, slots=True)
class Arithmetic:
    """A way to compute the small step, and what it costs."""

    setting: str
    loops: float
    """See :func:`loops`."""
    error: float
    """Largest difference of one step from float64."""
    drift: Drift


def arithmetics(
    trained: Trained, *, segments: int, degree: int, states: int, steps: int
) -> Iterator[Arithmetic]:
    """FP32, FP16 and integers, from the finest to the coarsest."""
    x = trained.unseen(states)
    exact = trained.step()(x)
    for setting, network, kind in _variants(trained.small, segments, degree):
        step = trained.step(network=network)
        yield Arithmetic(
            setting=setting, loops=loops(trained, step, kind, states), error=float((step(x.to(kind)) - exact).abs().max()),
            drift=drift(trained, step, orbits=states, steps=steps, kind=kind),
        )  # fmt: skip


def _variants(
    network: GeneratingNetwork, segments: int, degree: int
) -> Iterator[tuple[str, GeneratingNetwork, torch.dtype]]:
    pair = partial(table_pair, segments=segments, degree=degree)
    sizes = f"{segments} segments, degree {degree}"
    yield "float64, tanh", network, torch.float64
    yield "FP32, tanh", network.with_slopes(network.slopes, torch.float32), torch.float32
    for kind in ("matched", "separate"):
        yield (
            f"FP32, {kind} tables, {sizes}",
            network.with_slopes(pair(kind).bits(), torch.float32),
            torch.float32,
        )
    matched = pair("matched", format="fp16").bits()
    yield f"FP16, matched tables, {sizes}", network.with_slopes(matched, torch.float16), torch.float16
    for bits in (8, 4):
        for operands, what in ((False, "weights"), (True, "weights and operands")):
            variant = with_integers(network, bits, operands=operands)
            yield f"INT{bits} {what}, the rest float64, tanh", variant, torch.float64
