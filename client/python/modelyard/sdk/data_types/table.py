"""`wandb.sdk.data_types.table`."""

from modelyard.media.tables.joined import JoinedTable
from modelyard.media.tables.partitioned import PartitionedTable
from modelyard.media.tables.table import Table

__all__ = ["JoinedTable", "PartitionedTable", "Table"]
