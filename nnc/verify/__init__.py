"""Verification: whether every backend trains the same network as the program says.

`verify` compares random streams to the bit, single steps with the float64 meaning of the graph, and
whole curves; where something differs it names the first op to blame (docs/verify.md).
"""

from nnc.verify.probes import Fault
from nnc.verify.problems import problems
from nnc.verify.report import BackendReport, Report
from nnc.verify.run import verify

__all__ = ["BackendReport", "Fault", "Report", "problems", "verify"]
