"""Many clips: a manifest in, one result a clip and one table of all out, on one machine or on a Ray cluster."""

from physpose.batch.manifest import Manifest, ManifestError, Row, read_manifest
from physpose.batch.run import BatchResult, run_batch

__all__ = ["BatchResult", "Manifest", "ManifestError", "Row", "read_manifest", "run_batch"]
