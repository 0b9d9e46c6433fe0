"""The plain SHA-256 of files: made by the server, once for each content."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("file", sa.Column("sha256", sa.LargeBinary(32), nullable=True))
    # The SHA-256 of a file of one chunk is the chunk's digest; of an empty one it is the file's digest.
    op.execute("UPDATE file SET sha256 = digest WHERE size = 0")
    op.execute(
        """
        UPDATE file SET sha256 = (
            SELECT chunk.digest FROM file_chunk JOIN chunk ON chunk.id = file_chunk.chunk_id
            WHERE file_chunk.file_id = file.id AND file_chunk.idx = 0 AND chunk.size = file.size
        )
        WHERE size > 0 AND size <= 2097152
        """
    )
    # What clients said was never checked.
    op.drop_column("version_file", "sha256")
    op.drop_column("staged_entry", "sha256")
