"""Run a workload, once for each version of what it depends on."""

import hashlib
import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from lanewise.config import MachineConfig
from lanewise.files import cache_folder, write_json
from lanewise.sources import installed, source_hash
from lanewise.workload.registry import Workload
from lanewise.workload.result import WorkloadResult

PACKAGES = ("torch", "numpy", "scipy", "scikit-learn")
"""Libraries that a result may come from."""


def run(
    workload: Workload,
    config: MachineConfig,
    *,
    seed: int = 0,
    small: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> WorkloadResult:
    """Claims, cases and fidelity of a workload on a machine.

    A result is kept in the cache folder under the hash of the workload's source and of all that it imports, of the libraries'
    versions, the machine, the seed and the size, and is read from there the next time.

    Args:
        workload: Of :data:`~lanewise.workload.registry.WORKLOADS`.
        config: The machine; its baseline is the same without Flex-SFU.
        seed: Of data, initial weights and random bits.
        small: Seconds instead of minutes: fewer seeds and shorter training.
        progress: Told a line now and then.

    Raises:
        UserError: The machine cannot run it.
    """
    kept = cache_folder() / "workloads" / f"{workload.name}-{_key(workload, config, seed, small)}.json"
    if (known := _read(kept)) is not None:
        return known
    began = time.perf_counter()
    result: WorkloadResult = import_module(workload.module).run(
        config, seed=seed, small=small, progress=progress
    )
    progress(f"{workload.name}: {time.perf_counter() - began:.0f} s")
    write_json(kept, result.stored())
    return result


def _key(workload: Workload, config: MachineConfig, seed: int, small: bool) -> str:
    parts = [source_hash(workload.module), config.hash, str(seed), str(small)]
    parts += [f"{package} {installed(package)}" for package in PACKAGES]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:20]


def _read(path: Path) -> WorkloadResult | None:
    try:
        return WorkloadResult.restored(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        print(f"{path}: the kept result cannot be read ({error}); running again", file=sys.stderr)
        return None
