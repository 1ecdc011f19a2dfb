"""How fast the usual models train here, and how fast this machine could be."""

from stepax.arithmetic import flops
from stepax.bench.measure import Timing, matmul_peak, measure
from stepax.bench.workloads import WORKLOADS, Workload

__all__ = ["WORKLOADS", "Timing", "Workload", "flops", "matmul_peak", "measure"]
