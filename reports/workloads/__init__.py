"""Pages of the papers' workloads: claims beside measurements, cases, fidelity, pictures."""
