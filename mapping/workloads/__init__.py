"""The papers' workloads on the core."""
