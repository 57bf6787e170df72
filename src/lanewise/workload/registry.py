"""The workloads by name."""

from dataclasses import dataclass

from lanewise.errors import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """A workload before it runs."""

    name: str
    title: str
    paper: str

    @property
    def module(self) -> str:
        """Where its ``run(config, *, seed, small, progress)`` is."""
        return f"lanewise.workload.{self.name.replace('-', '_')}"

    @property
    def drawing(self) -> str:
        """Where its ``draw(result, folder)`` is."""
        return f"lanewise.reports.workloads.{self.name.replace('-', '_')}"


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(
            name="spsn",
            title="Stochastic parallelisable spiking neurons",
            paper="Yarga and Wood, arXiv 2306.12666",
        ),
        Workload(
            name="deconvolution",
            title="Unrolled multi-frame deconvolution of solar images",
            paper="Asensio Ramos et al., arXiv 2306.12078",
        ),
        Workload(
            name="random-cnn",
            title="Random filters recombined by 1x1 convolutions",
            paper="Gavrikov and Keuper, arXiv 2301.11360",
        ),
        Workload(
            name="lsnn",
            title="Large-step symplectic networks",
            paper="Li, Li and Xia, arXiv 2208.14148; Chen and Tao, arXiv 2103.05632",
        ),
    )
}


def find(name: str) -> Workload:
    """A workload by its name, with or without ``workload:`` before it.

    Raises:
        UserError: There is none.
    """
    workload = WORKLOADS.get(name.removeprefix("workload:"))
    if workload is None:
        raise UserError(f"{name}: unknown workload; expected {', '.join(WORKLOADS)}")
    return workload
