"""Proofs about the RTL for every input, every table and every back-pressure, by induction over clocks (yosys' SAT solver)."""
