"""Run as a program: executes one yosys script, for a crash of yosys ends the process it is in."""

import resource
import sys

MEMORY_BYTES = 6 << 30
"""Address space that yosys may take."""


def main(script: str) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    from pyosys import libyosys

    libyosys.run_pass(f"script {script}")


if __name__ == "__main__":
    main(sys.argv[1])
