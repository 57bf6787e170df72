"""The papers' workloads on the core: their kernels and networks, and what they take."""
