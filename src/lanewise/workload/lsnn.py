"""Large-step symplectic networks: train, check the claims, put tables and coarse arithmetic in, price the steps."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lanewise.config import MachineConfig
from lanewise.models.claim import Claim
from lanewise.workload.registry import WORKLOADS
from lanewise.workload.result import Case, Fidelity, WorkloadResult

if TYPE_CHECKING:
    from lanewise.models.lsnn.measures import Arithmetic, Drift, LargeStep, Symplecticity, TableDefect
    from lanewise.models.lsnn.trained import Trained

STEPS = 1000
"""Of the long predictions."""
LIMIT = 1e-4
"""Of symplecticity: the claim's."""
WORSE = 100
"""How many times worse a plain MLP must be."""
PAPER_SEGMENTS = 32
"""Flex-SFU's paper's."""
BOUNDED = 3.0
"""Largest energy error of the last tenth of the steps over that of the first: below, it does not grow with time, which would make it 10."""


def run(config: MachineConfig, *, seed: int, small: bool, progress: Callable[[str], None]) -> WorkloadResult:
    """Claims, cases and fidelity; a minute or two of processor time, with ``small`` less than one.

    Raises:
        UserError: A network does not fit the machine.
    """
    from lanewise.models.lsnn import measures
    from lanewise.models.lsnn.config import DEFAULT, QUICK
    from lanewise.models.lsnn.systems import SYSTEMS
    from lanewise.models.lsnn.trained import Trained
    from lanewise.models.one_thread import one_thread

    partitions = {"pcr3bp": 2 if small else 3, "two-body": 0}
    claims: list[Claim] = []
    data: dict[str, Any] = {}
    with one_thread():
        for name, count in partitions.items():
            training = QUICK if small and count else DEFAULT
            trained = Trained.train(SYSTEMS[name], training, partitions=count, seed=seed, progress=progress)
            claims += _claims(trained, measures)
            if name == "pcr3bp":
                three = trained
                data |= pictures(trained)
        progress("lsnn: tables by segments and degree")
        scan = list(measures.table_defects(three, (8, 32) if small else (8, 16, 32, 64)))
        progress("lsnn: FP32, FP16, INT8, INT4")
        segments = config.flex_sfu.segments
        coarse = list(
            measures.arithmetics(three, segments=segments, degree=2, states=10, steps=100 if small else STEPS)
        )
    claims += _table_claims(scan)
    data["tables"] = [asdict(found) for found in scan]
    progress("lsnn: cycles")
    return WorkloadResult(
        name="lsnn", title=WORKLOADS["lsnn"].title, seed=seed, small=small, config_hash=config.hash, claims=tuple(claims),
        cases=tuple(_cases(config, small=small)), fidelity=tuple(_fidelity(scan, coarse)), findings=tuple(_findings(scan, coarse)), data=data,
    )  # fmt: skip


def _claims(trained: "Trained", measures: Any) -> list[Claim]:
    name, count = trained.system.name, 20
    form: Symplecticity = measures.symplecticity(trained)
    own: Drift = measures.drift(trained, trained.step(), orbits=count, steps=STEPS)
    plain: Drift = measures.drift(trained, trained.plain, orbits=count, steps=STEPS)
    constant = "-C_J / 2" if trained.angle else "energy"
    claims = [
        Claim(
            name=f"symplectic, {name}",
            claim=f"The map is symplectic to {LIMIT:g} in FP32, where a plain MLP is at least {WORSE} times worse.",
            paper="symplectic by construction; no figure",
            measured=f"largest |M^T J M - J| {form.network:.1e}; plain MLP's median {form.plain:.1e}, {form.ratio:,.0f} times worse",
            holds=form.network <= LIMIT and form.ratio >= WORSE,
        ),
        Claim(
            name=f"energy, {name}",
            claim=f"The energy error is bounded over {STEPS:,} steps: in the last tenth at most {BOUNDED:g} times the first's, below the plain MLP's.",
            paper="long predictions keep the energy; no figure",
            measured=f"{constant}, {count} unseen orbits: {own.first:.1e} in the first tenth, {own.last:.1e} in the last; "
            f"plain MLP {plain.first:.1e}, {plain.last:.1e}",
            holds=own.growth <= BOUNDED and own.last < plain.last,
        ),
    ]  # fmt: skip
    if not trained.large:
        return claims
    ahead: Sequence[LargeStep] = measures.large_steps(trained)
    steps = [
        f"{s.steps} steps ahead {s.large:.1e}, composed {s.composed:.1e}, plain MLP {s.plain:.1e}"
        for s in ahead
    ]
    large = Claim(
        name=f"large step, {name}",
        claim="One large step from the first partition to a later one errs less than the small steps that lead as far.",
        paper="each prediction is one large step; no figure",
        measured="median errors: " + "; ".join(steps),
        holds=all(step.large < step.composed for step in ahead),
    )
    return [*claims, large]


def _table_claims(scan: "Sequence[TableDefect]") -> list[Claim]:
    apart = [found for found in scan if found.kind != "matched" and found.segments <= PAPER_SEGMENTS]
    matched = [found for found in scan if found.kind == "matched" and found.degree == 2]
    least = min(apart, key=lambda found: found.jacobian)
    worst = max(matched, key=lambda found: found.jacobian)
    return [
        Claim(
            name="symplecticity lost",
            claim=f"Tables of tanh and tanh' that do not match lose symplecticity beyond {LIMIT:g}, with {PAPER_SEGMENTS} segments or fewer.",
            paper="ours; no figure",
            measured=f"largest |M^T J M - J| in FP32, at best {least.jacobian:.1e} ({least.kind}, degree {least.degree}, {least.segments} segments)",
            holds=least.jacobian > LIMIT,
        ),
        Claim(
            name="symplecticity restored",
            claim=f"With T the integral of D's continuous lines (degree 2) the map is symplectic to {LIMIT:g} in FP32 at every size, "
            "and so are loops with the hardware's bits.",
            paper="ours; no figure",
            measured=f"largest |M^T J M - J| {worst.jacobian:.1e} ({worst.segments} segments), "
            f"change of a loop's area {max(found.loops for found in matched):.1e}",
            holds=max(max(found.jacobian, found.loops) for found in matched) <= LIMIT,
        ),
    ]  # fmt: skip


def _cases(config: MachineConfig, *, small: bool) -> list[Case]:
    from lanewise.mapping.workloads.lsnn.cases import step_cases, traced_cases

    cases = [
        Case(
            name=case.name, shape=case.shape, machine=case.machine, cycles=case.cost.cycles, baseline_cycles=case.baseline.cycles,
            macs=case.work.macs, loaded_bytes=case.cost.loaded_bytes, stored_bytes=case.cost.stored_bytes,
        )
        for case in step_cases(config, small=small)
    ]  # fmt: skip
    for name, shape, machine, simulation in traced_cases(config, small=small):
        cases.append(Case.of(simulation, name=name, shape=shape, machine=machine))
    return cases


def _fidelity(scan: "Sequence[TableDefect]", coarse: "Sequence[Arithmetic]") -> list[Fidelity]:
    exact = coarse[0]
    areas = [
        Fidelity(
            name="change of a loop's area", setting=found.setting, reference=exact.loops, hardware=found.loops, unit="",
            note=f"one step differs by {found.error:.1e}",
        )
        for found in coarse[1:]
    ]  # fmt: skip
    constants = [
        Fidelity(
            name="error of -C_J / 2, last tenth of the steps", setting=found.setting, reference=exact.drift.last, hardware=found.drift.last,
            unit="", note=f"in the first tenth {found.drift.first:.1e}",
        )
        for found in coarse[1:]
    ]  # fmt: skip
    jacobians = [
        Fidelity(
            name="|M^T J M - J|", setting=f"{table.kind} tables, {table.segments} segments, degree {table.degree}, FP32", reference=0.0,
            hardware=table.jacobian, unit="", note=f"loops with FP32 bits {table.loops:.1e}; one step differs by {table.error:.1e}",
        )
        for table in scan
    ]  # fmt: skip
    return [*areas, *constants, *jacobians]


def _findings(scan: "Sequence[TableDefect]", coarse: "Sequence[Arithmetic]") -> list[str]:
    half = next(found for found in coarse if found.setting.startswith("FP16"))
    steps = max(
        (found for found in scan if found.kind == "matched" and found.degree == 1),
        key=lambda found: found.loops,
    )
    kept = [found.setting for found in coarse if found.loops <= LIMIT]
    lost = [found.setting for found in coarse if found.loops > LIMIT]
    return [
        "The gradient network's Jacobian is symmetric where the backward pass takes the derivative of the very function that the forward pass takes; "
        "in the first hidden layer any function will do, so a network with one hidden layer is symplectic whatever its table.",
        "Matched tables need degree 2: T a quadratic spline, D its slope. Of degree 1 T's derivative is a staircase: the map's Jacobian is the identity "
        f"wherever there is one ({steps.jacobian:.0e}), yet loops change their area by up to {steps.loops:.1e}.",
        f"FP16 states are useless for {LIMIT:g}: loops change their area by {half.loops:.1e}, and a step differs by {half.error:.1e} from float64's. FP32 "
        "vector arithmetic with matched FP32 tables keeps the claim.",
        f"Loops' areas are kept to {LIMIT:g} by: {'; '.join(kept)}. They are lost by: {'; '.join(lost)}. Loops average over what they enclose and so miss "
        "what mismatched tables do at a point, which the Jacobian shows.",
        "Integer weights keep symplecticity, W and W^T being the same integers, but are the map of another system; integer operands lose it.",
    ]  # fmt: skip


def pictures(trained: "Trained", steps: int = STEPS) -> dict[str, Any]:
    """One unseen orbit by the integrator, the network and the plain MLP: places and Jacobi constants; large steps' errors."""
    import numpy as np

    from lanewise.models.lsnn.config import STEP
    from lanewise.models.lsnn.integrator import integrate
    from lanewise.models.lsnn.measures import large_steps
    from lanewise.models.lsnn.systems import RestrictedThreeBody

    system = trained.system
    assert isinstance(system, RestrictedThreeBody)
    start = trained.unseen(1)
    states = {
        "integrator": integrate(system.velocity, start.numpy(), step=STEP, steps=steps)[:, 0],
        "generating network": trained.orbit(trained.step(), start, steps)[:, 0].numpy(),
        "plain MLP": trained.orbit(trained.plain, start, steps)[:, 0].numpy(),
    }
    orbits, constants = {}, {}
    for name, series in states.items():
        with np.errstate(all="ignore"):
            orbits[name] = [[round(float(v), 4) for v in place] for place in system.cartesian(series)]
            constants[name] = [float(v) for v in system.jacobi(series) - system.jacobi(series[0])]
    return {"step": STEP, "orbits": orbits, "jacobi": constants, "large": [asdict(found) for found in large_steps(trained)]}  # fmt: skip
