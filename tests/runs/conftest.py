"""Records of runs, as the report's tests have them."""

from tests.report.conftest import record, runs, write

__all__ = ["record", "runs", "write"]
