"""The proofs that there are, and running one."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lanewise.config import SEGMENT_COUNTS, FlexSfuConfig, MachineConfig
from lanewise.verify.formal.address_decoder import segments_harness
from lanewise.verify.formal.circuit import FormalError
from lanewise.verify.formal.harness import Harness
from lanewise.verify.formal.pipeline import results_verdict
from lanewise.verify.formal.prover import Verdict, prove
from lanewise.verify.formal.streams import decoder_stream, flex_sfu_stream, multiply_add_stream, table_stream
from lanewise.verify.formal.trace import write_trace
from lanewise.verify.runner import TestResult
from lanewise.verify.sfu_tables import ALL_FORMATS, label


@dataclass(frozen=True, kw_only=True)
class Proof:
    """One proof about one configuration."""

    name: str
    """``<case>.<what>``."""
    run: Callable[[], Verdict]


def proofs(machine: MachineConfig, full: bool) -> list[Proof]:
    """All proofs for the machine's Flex-SFU, for the smallest one, and for one with everything; in the full set for every tree.

    The configurations have one lane: lanes are instances of one module, side by side, and share nothing but the
    table, which a lane only reads, and the enable, which the streams' proofs are about.
    """
    own = dataclasses.replace(machine.flex_sfu, enabled=True, lanes=1)
    everything = FlexSfuConfig(segments=8, lanes=1, degree=2, formats=ALL_FORMATS, double_buffered=True)
    configs = [own, FlexSfuConfig(segments=4, lanes=1), everything]
    if full:
        configs += [FlexSfuConfig(segments=segments, lanes=1) for segments in SEGMENT_COUNTS]
        configs += [
            FlexSfuConfig(segments=8, lanes=1, formats=("fp8e4m3", "fp8e5m2", "int16")),
            FlexSfuConfig(segments=16, lanes=1, formats=("int8",), degree=2, double_buffered=True),
            FlexSfuConfig(segments=16, lanes=1, formats=("fp32",)),
            dataclasses.replace(everything, segments=32),
        ]
    return [proof for config in dict.fromkeys(configs) for proof in proofs_of(config)]


def proofs_of(config: FlexSfuConfig) -> list[Proof]:
    """The proofs about one configuration.

    Raises:
        ValueError: ``config.lanes`` is not 1.
    """
    if config.lanes != 1:
        raise ValueError(f"lanes must be 1, not {config.lanes!r}")
    formats = config.number_formats
    harnesses: dict[str, Callable[[], Harness]] = {
        "segments": partial(segments_harness, config),
        "address_decoder": partial(decoder_stream, config),
        "coefficient_table": partial(table_stream, config),
        "multiply_add": partial(multiply_add_stream, formats),
        "flex_sfu": partial(flex_sfu_stream, config),
    }
    runs: dict[str, Callable[[], Verdict]] = {what: partial(_prove, make) for what, make in harnesses.items()}
    runs["results"] = partial(results_verdict, formats)
    return [Proof(name=f"{label(config)}.{what}", run=run) for what, run in runs.items()]


def _prove(make: Callable[[], Harness]) -> Verdict:
    return prove(make())


def run_proofs(
    chosen: Sequence[Proof], *, folder: Path, progress: Callable[[str], object] = str
) -> list[TestResult]:
    """Run proofs; a failure that was found leaves its clocks in ``folder/proofs/<name>.vcd``.

    A tool that fails, out of memory perhaps, fails its proof.
    """
    results = []
    for proof in chosen:
        progress(f"proofs[{proof.name}]")
        started = time.perf_counter()
        try:
            verdict = proof.run()
        except FormalError as error:  # a failure like any other: the rest goes on
            verdict = Verdict(proved=0, failed=("tool",), reason=str(error))
        message = verdict.message
        if verdict.trace:
            file = folder / "proofs" / f"{proof.name}.vcd"
            write_trace(file, verdict.trace)
            message += f" (clocks: {file})"
        results.append(
            TestResult(
                name=f"proofs[{proof.name}]", passed=not message, seconds=time.perf_counter() - started,
                values_compared=0, clocks_compared=0, message=message, properties_proved=verdict.proved,
            )
        )  # fmt: skip
    return results
