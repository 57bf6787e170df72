"""The papers' workloads on the core: their kernels and the networks made of them."""
