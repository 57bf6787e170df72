"""Static scheduling of kernels' code: :func:`lanewise.sim.list_schedule.schedule`."""

from lanewise.sim.list_schedule import schedule

__all__ = ["schedule"]
