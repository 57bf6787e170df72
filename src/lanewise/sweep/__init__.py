"""Many networks on many machines: what ``lanewise sweep`` runs, and the rows that it writes."""
