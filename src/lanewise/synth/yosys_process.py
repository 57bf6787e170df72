"""Run as a program: executes one yosys script, for a crash of yosys ends the process it is in."""

import resource
import sys

MEMORY_BYTES = 4 << 30
"""Address space that yosys and each of its mappers may take."""


def main(script: str) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    from pyosys import libyosys

    libyosys.run_pass(f"script {script}")


if __name__ == "__main__":
    main(sys.argv[1])
