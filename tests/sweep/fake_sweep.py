"""A sweep of fake networks as a process of its own: ``fake_sweep.py FOLDER NETWORKS WORKERS``; prints every model when it counts as done."""

import sys
from collections.abc import Iterable
from pathlib import Path

from lanewise.mapping.zoo import ZooModel
from lanewise.sweep.machines import machines
from lanewise.sweep.progress import Progress
from lanewise.sweep.row import SweepRow
from lanewise.sweep.run import Sweep, run_sweep


class Told(Progress):
    """Says at once what has been done."""

    def add(self, rows: Iterable[SweepRow]) -> None:
        rows = list(rows)
        super().add(rows)
        for row in rows:
            print(row.model, row.config_hash, flush=True)


if __name__ == "__main__":
    import fake_network

    folder, count, workers = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    networks = [
        ZooModel(name=f"fake:{i}", library="fake", family=f"family{i % 7}", domain="vision")
        for i in range(count)
    ]
    sweep = Sweep(networks=networks, machines=machines([], ["vector.lanes=4,8"]))
    run_sweep(sweep, folder, workers=workers, scheduler=None, progress=Told(), run=fake_network.run_network)
