"""The command line. Each command imports what it needs when it runs, so that none waits for another's libraries."""

import errno
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from lanewise import __version__
from lanewise.errors import UserError

app = typer.Typer(
    name="lanewise", no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
    help="From a real network to Verilog, cycles, area and accuracy of a vector unit with Flex-SFU and INT4 MACs.",
)  # fmt: skip

Batch = Annotated[int, typer.Option("--batch", min=1, max=4096, help="Batch size.")]
Resolution = Annotated[
    int | None,
    typer.Option("--resolution", min=1, max=8192, help="Side of the input image; default: the model's."),
]
AllowUnmapped = Annotated[
    bool, typer.Option("--allow-unmapped", help="Price operators without a kernel as a fallback.")
]
Sequence = Annotated[
    int | None,
    typer.Option(
        "--sequence",
        min=1,
        max=1 << 20,
        help="Sequence length of language models; default: 128, or the model's most.",
    ),
]
Phase = Annotated[
    str | None,
    typer.Option(
        "--phase",
        metavar="PHASE",
        help="prefill, or decode: one token's step of a decoder-only language model, head included.",
    ),
]
Context = Annotated[
    int | None,
    typer.Option(
        "--context", min=1, max=1 << 20, help="Tokens before the one of a decode step; default: 1024."
    ),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="The machine, in TOML; absent keys take their defaults."),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object to standard output and nothing else.")
]


Dims = Annotated[
    list[str] | None,
    typer.Option("--dim", metavar="NAME=N", help="Size of an axis that a file leaves open; again for more."),
]
MODELS = "timm:NAME, hf:NAME, onnx:FILE or pt2:FILE."


def _dims(options: list[str] | None) -> dict[str, int]:
    """Sizes by name.

    Raises:
        UserError: An option is not NAME=N.
    """
    sizes = {}
    for option in options or ():
        name, _, number = option.rpartition("=")
        if not name or not number.isdecimal() or not number.isascii():
            raise UserError(f"--dim {option}: must be NAME=N with a whole number N, such as --dim batch=4")
        sizes[name] = int(number)
    return sizes


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value, indent=2, allow_nan=False))


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        print(f"lanewise {__version__}")
        raise typer.Exit


@app.command()
def generate(
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="Folder to make; an earlier output there is replaced."),
    ],
    config: Config = None,
    json_: Json = False,
) -> None:
    """Write Verilog, a FuseSoC core file and a manifest."""
    from lanewise.config import load_config
    from lanewise.generate import generate as run

    result = run(load_config(config), out)
    if json_:
        _print_json(result)
    else:
        print(f"{out}: {len(result['files'])} files, config {result['config_hash']}")


@app.command()
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME...]", help="Testbenches, or proofs; all if none is named."),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="All configurations and the long runs.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the random stimuli.")] = 1,
    waves: Annotated[
        bool,
        typer.Option("--waves", help="Record all signals in dump.vcd of each case's folder in build/verify."),
    ] = False,
    config: Config = None,
    json_: Json = False,
) -> None:
    """Run the cocotb testbenches on Verilator, and the formal proofs."""
    from lanewise.config import load_config
    from lanewise.verify import verify as run

    result = run(
        names or [],
        load_config(config),
        full=full,
        seed=seed,
        waves=waves,
        folder=Path("build/verify"),
        progress=_progress,
    )
    if json_:
        _print_json(result.as_dict())
    else:
        print(
            f"{result.values_compared:,} values and {result.clocks_compared:,} clocks compared, seed {seed}"
        )
        if result.programs_compared:
            print(
                f"{result.programs_compared:,} programs of {result.instructions_compared:,} instructions: every start and end compared"
            )
        if result.properties_proved:
            print(f"{result.properties_proved:,} properties proved")
        for test in result.tests:
            if not test.passed:
                print(f"{test.name}: {test.message}")
        print(f"{result.passed} passed, {result.failed} failed")
    if result.failed:
        raise typer.Exit(1)


@app.command()
def fit(
    function: Annotated[str, typer.Argument(metavar="FUNCTION", help="gelu, silu, tanh, exp, ...")],
    segments: Annotated[int, typer.Option("--segments", help="4, 8, 16, 32 or 64, tails included.")] = 32,
    degree: Annotated[int, typer.Option("--degree", help="Degree of a segment's polynomial.")] = 1,
    number_format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="int8, int16, int32, fp8e4m3, fp8e5m2, fp16, bf16, fp32, or real for unrounded.",
        ),
    ] = "fp16",
    interval: Annotated[
        tuple[float, float] | None, typer.Option("--range", metavar="A B", help="Interval of the fit.")
    ] = None,
    method: Annotated[
        str, typer.Option("--method", metavar="METHOD", help="optimal, or paper for the paper's optimiser.")
    ] = "optimal",
    pin_tails: Annotated[
        bool, typer.Option("--pin-tails/--free-tails", help="Whether the tails lie on the asymptotes.")
    ] = True,
    symmetric: Annotated[
        bool, typer.Option("--symmetric", help="One half of the table mirrors the other.")
    ] = False,
    relative: Annotated[bool, typer.Option("--relative", help="Relative instead of absolute error.")] = False,
    samples: Annotated[
        Path | None,
        typer.Option(
            "--samples", metavar="FILE", help="Inputs that weigh the error: a text file of numbers, or .npy."
        ),
    ] = None,
    input_scale: Annotated[
        float | None, typer.Option("--input-scale", help="Integers: real operand = integer x scale.")
    ] = None,
    output_scale: Annotated[
        float | None, typer.Option("--output-scale", help="Integers: likewise of results.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw function, segments and error, as SVG.")
    ] = None,
    config: Config = None,
    json_: Json = False,
) -> None:
    """Fit a function's table and give its error."""
    from lanewise.config import load_config
    from lanewise.models.fit import fit as run
    from lanewise.models.samples import load_samples

    load_config(config)
    weights = None
    if samples is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # NumPy only warns where it drops the imaginary parts
            try:
                weights = load_samples(samples)
            except Warning as warning:
                raise UserError(f"{samples}: is no file of real numbers: {warning}") from None
    result = run(
        function, segments=segments, degree=degree, format=number_format, range=interval, method=method,
        pin_tails=pin_tails, symmetric=symmetric, relative=relative,
        weights=weights, input_scale=input_scale, output_scale=output_scale,
    )  # fmt: skip
    values = result.as_dict()
    if plot is not None:
        from lanewise.files import write_text
        from lanewise.reports.plots import fitted_function

        write_text(plot, fitted_function(result))
    if json_:
        _print_json(values)
        return
    for key in (
        "function",
        "segments",
        "degree",
        "format",
        "range",
        "mse",
        "aae2",
        "max_error",
        "limit_mse",
        "limit_ratio",
        "uniform_mse",
        "rounding_mse",
        "seconds",
    ):
        print(f"{key:12} {values[key]}")


@app.command()
def synth(
    liberty: Annotated[
        Path | None, typer.Option("--liberty", metavar="FILE", help="Another standard-cell library.")
    ] = None,
    node_nm: Annotated[
        float | None, typer.Option("--node-nm", help="Its process node in nm, for the report.")
    ] = None,
    config: Config = None,
    json_: Json = False,
) -> None:
    """Synthesise the blocks to standard cells and give their area."""
    from lanewise.config import load_config
    from lanewise.files import cache_folder
    from lanewise.synth import synthesise

    result = synthesise(
        load_config(config), liberty=liberty, node_nm=node_nm, cache=cache_folder(), progress=_progress
    )
    values = result.as_dict()
    if json_:
        _print_json(values)
        return
    from lanewise.synth.table import synth_lines

    print("\n".join(synth_lines(result)))


@app.command()
def simulate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODELS)],
    batch: Batch = 1,
    sequence: Sequence = None,
    resolution: Resolution = None,
    dim: Dims = None,
    phase: Phase = None,
    context: Context = None,
    allow_unmapped: AllowUnmapped = False,
    trace: Annotated[
        Path | None,
        typer.Option("--trace", metavar="FILE", help="Write every instruction's start and end for Perfetto."),
    ] = None,
    listing: Annotated[
        Path | None,
        typer.Option("--listing", metavar="FILE", help="Write every operator's Program as assembler text."),
    ] = None,
    trace_operator: Annotated[
        list[str] | None,
        typer.Option(
            "--trace-operator", metavar="NAME", help="Only this operator's instructions; again for more."
        ),
    ] = None,
    trace_limit: Annotated[
        int,
        typer.Option(
            "--trace-limit", min=0, help="Instructions of each machine in the trace, from the first on."
        ),
    ] = 1_000_000,
    training: Annotated[
        bool,
        typer.Option(
            "--training",
            help="A training step in INT4 instead, beside FP16 arrays of equal shape and of equal area.",
        ),
    ] = False,
    config: Config = None,
    json_: Json = False,
) -> None:
    """Cycles of a network, by operator and unit, with the baseline beside."""
    if training:
        if trace is not None or listing is not None or allow_unmapped:
            option = (
                "--trace" if trace is not None else "--listing" if listing is not None else "--allow-unmapped"
            )
            raise UserError(f"{option}: is for a network without --training; expected one or the other")
        if phase is not None or context is not None:
            raise UserError("--phase: is for a network without --training; expected one or the other")
        _simulate_training(model, batch, sequence, resolution, _dims(dim), config, json_)
        return
    from lanewise.config import load_config
    from lanewise.mapping.networks_sizes import check_used
    from lanewise.mapping.simulate import simulate as run
    from lanewise.mapping.trace import trace_model

    if trace_operator and trace is None:
        raise UserError("--trace-operator: says what --trace FILE holds; expected that as well")
    machine = load_config(config)
    graph = trace_model(
        model,
        batch=batch,
        sequence=sequence,
        resolution=resolution,
        dims=_dims(dim),
        phase=phase,
        context=context,
        progress=_progress,
    )
    check_used(graph, sequence=sequence, resolution=resolution)
    result = run(graph, machine, allow_unmapped=allow_unmapped)
    if trace is not None:
        from lanewise.mapping.timeline import write_timeline

        write_timeline(result, trace, operators=trace_operator or (), limit=trace_limit, progress=_progress)
    if listing is not None:
        from lanewise.mapping.listing import write_listing

        write_listing(result, listing)
    values = result.as_dict()
    if json_:
        _print_json(values)
    else:
        from lanewise.reports.terminal import print_simulation

        print_simulation(values)


def _simulate_training(
    model: str,
    batch: int,
    sequence: int | None,
    resolution: int | None,
    dims: dict[str, int],
    config: Path | None,
    json_: bool,
) -> None:
    from lanewise.config import load_config
    from lanewise.files import cache_folder
    from lanewise.mapping.networks_sizes import check_used
    from lanewise.mapping.trace import trace_model
    from lanewise.mapping.training.machines import fp16_machines
    from lanewise.mapping.training.simulate import simulate_training, training_cost
    from lanewise.synth import equal_area_fp16

    machine = load_config(config)
    if machine.matrix.operand_bits != 4:
        raise UserError(f"matrix.operand_bits must be 4 for --training, not {machine.matrix.operand_bits}")
    graph = trace_model(
        model, batch=batch, sequence=sequence, resolution=resolution, dims=dims, progress=_progress
    )
    check_used(graph, sequence=sequence, resolution=resolution)
    training_cost(graph, machine)  # refused before anything long has begun
    area = equal_area_fp16(machine, cache=cache_folder(), progress=_progress)
    others = fp16_machines(machine, area.equal_area)
    values = simulate_training(graph, machine, others, progress=_progress).as_dict()
    values["areas"] = area.as_dict()
    if json_:
        _print_json(values)
        return
    from lanewise.reports.terminal import print_training

    print_training(values)


@app.command()
def sweep(
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="DIR", help="Folder of results.parquet; what is there is not computed again."
        ),
    ],
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL...]", help="timm:NAME, hf:NAME, or patterns such as 'timm:resnet*'; default: all."
        ),
    ] = None,
    models_file: Annotated[
        Path | None, typer.Option("--models", metavar="FILE", help="More of them, one a line.")
    ] = None,
    batch: Batch = 1,
    sequence: Sequence = None,
    resolution: Resolution = None,
    phase: Phase = None,
    context: Context = None,
    config: Annotated[
        list[Path] | None,
        typer.Option("--config", metavar="FILE", help="A machine, in TOML; again for more."),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            "--vary",
            metavar="KEY=V,V,...",
            help="Each machine with each of these values, such as vector.lanes=4,8,16; again for the product.",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, max=1024, help="Processes; default: as many as CPUs.")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option("--scheduler", metavar="ADDRESS", help="A running Dask cluster, in place of processes."),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option("--timeout", metavar="SECONDS", help="Of a network's trace, and of each machine."),
    ] = 900.0,
    memory: Annotated[float, typer.Option("--memory", metavar="GIB", help="Limit of a worker.")] = 4.0,
    allow_unmapped: AllowUnmapped = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Compute what failed once more.")
    ] = False,
    cost_cache: Annotated[
        bool,
        typer.Option("--cost-cache/--no-cost-cache", help="Whether costs of works are kept between runs."),
    ] = True,
    json_: Json = False,
) -> None:
    """Many networks on many machines, into one table; carries on where an earlier run was stopped."""  # fmt: skip
    from lanewise.sweep.command import Arguments, print_summary
    from lanewise.sweep.command import sweep as run
    from lanewise.sweep.network import Shapes

    values = run(
        Arguments(
            models=models or [], models_file=models_file, configs=config or [], vary=vary or [],
            shapes=Shapes(batch=batch, sequence=sequence, resolution=resolution, phase=phase, context=context), workers=workers, scheduler=scheduler,
            timeout_seconds=timeout, memory_gib=memory, allow_unmapped=allow_unmapped, retry_failed=retry_failed,
            cost_cache=cost_cache,
        ),
        out,
    )  # fmt: skip
    if json_:
        _print_json(values)
    else:
        print_summary(values)


@app.command()
def report(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help=f"workload:NAME, {MODELS}")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for index.html, CSV and JSON.")],
    sentences: Annotated[
        int, typer.Option("--sentences", min=8, max=2048, help="Sentences of the accuracy study.")
    ] = 256,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the sentences' choice.")] = 0,
    small: Annotated[bool, typer.Option("--small", help="Workloads in seconds instead of minutes.")] = False,
    dim: Dims = None,
    allow_unmapped: AllowUnmapped = False,
    config: Config = None,
    json_: Json = False,
) -> None:
    """Write the HTML report with its CSV and JSON."""
    from lanewise.config import load_config
    from lanewise.reports.report import write_report

    result = write_report(
        models,
        load_config(config),
        out,
        sentences=sentences,
        seed=seed,
        allow_unmapped=allow_unmapped,
        dims=_dims(dim),
        small=small,
        progress=_progress,
    )
    if json_:
        _print_json(result)
    else:
        print(f"{out / 'index.html'}")


@app.command()
def analyse(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `lanewise sweep --out DIR` wrote.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for index.html, CSV and JSON.")],
    json_: Json = False,
) -> None:
    """Write tables, plots and one HTML page of a sweep's results."""
    from lanewise.reports.sweep.page import write_analysis

    summary = write_analysis(folder, out, progress=_progress)
    if json_:
        _print_json(summary)
    else:
        print(f"{out / 'index.html'}: {summary['done']:,} networks, {summary['failed']:,} failed")


@app.command()
def workload(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Which; without it all are listed.")
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Seed of data, initial weights and random bits.")
    ] = 0,
    small: Annotated[
        bool, typer.Option("--small", help="Seconds instead of minutes: fewer seeds, shorter training.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder for the page and its JSON.")
    ] = None,
    config: Config = None,
    json_: Json = False,
) -> None:
    """A paper's workload: its claims, its cycles on the core, its fidelity with the hardware's bits."""
    from lanewise.config import load_config
    from lanewise.workload.registry import WORKLOADS, find

    if name is None:
        listed = [{"name": w.name, "title": w.title, "paper": w.paper} for w in WORKLOADS.values()]
        if json_:
            _print_json({"workloads": listed})
        else:
            for row in listed:
                print(f"{row['name']:14} {row['title']} ({row['paper']})")
        return
    from lanewise.workload.run import run

    result = run(find(name), load_config(config), seed=seed, small=small, progress=_progress)
    if out is not None:
        from lanewise.reports.workloads.page import write_page

        write_page(result, out)
    if json_:
        _print_json(result.as_dict())
    else:
        from lanewise.reports.terminal import print_workload

        print_workload(result.as_dict())


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns its exit status: 0 done, 1 a failure of ours, 2 bad input."""
    click_error = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
    try:
        status = app(arguments, standalone_mode=False)
    except UserError as error:
        print(f"lanewise: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, typer.Abort):
        print("lanewise: interrupted; what was finished is kept", file=sys.stderr)
        return 130
    except OSError as error:  # the reader of our output has gone, or its disk is full
        if error.errno not in (errno.EPIPE, errno.ENOSPC):
            raise
        print(f"lanewise: standard output: cannot be written: {error.strerror}", file=sys.stderr)
        os._exit(1)
    except Exception as error:
        if not isinstance(error, click_error):
            raise
        print(f"lanewise: {' '.join(error.format_message().split())}", file=sys.stderr)  # type: ignore[attr-defined]
        return 2
    try:
        sys.stdout.flush()
    except OSError as error:
        print(f"lanewise: standard output: cannot be written: {error.strerror}", file=sys.stderr)
        os._exit(1)  # the interpreter would try to flush once more
    if status == 130:  # typer's own word for an interruption
        print("lanewise: interrupted; what was finished is kept", file=sys.stderr)
    return status if isinstance(status, int) else 0


def entry() -> None:
    """The ``lanewise`` command."""
    sys.exit(main())


if __name__ == "__main__":
    entry()
