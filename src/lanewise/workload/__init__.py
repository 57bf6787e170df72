"""The papers' workloads: golden model, claims, mapping and fidelity of each, as ``lanewise workload`` runs them."""
