"""Holds the RTL to the golden models (bits) and to the simulator (clocks): cocotb benches on Verilator."""

from lanewise.verify.bench import Bench, Case
from lanewise.verify.registry import NAMES, find_bench
from lanewise.verify.runner import TestResult, run_case
from lanewise.verify.suite import VerifyResult, verify

__all__ = ["NAMES", "Bench", "Case", "TestResult", "VerifyResult", "find_bench", "run_case", "verify"]
