"""The papers' workloads on the core: kernels, networks, cases."""
