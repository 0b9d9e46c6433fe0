"""What streams may hold in memory beyond the little that each needs: budgets of the process."""

from __future__ import annotations

from dataclasses import dataclass, field

from modelyard_server.packs.budget import ByteBudget

READ_AHEAD_BYTES = 64 << 20
"""Of all downloads together. One that gets nothing of it reads one block after another."""
WINDOW_BYTES = 64 << 20
"""Of all simple uploads together. One that gets nothing of it cuts in smaller windows."""

LOCAL_BYTES = 192 << 20
"""Of all uploads of local files together. One that gets nothing of it has windows of a quarter."""


@dataclass(frozen=True)
class Memory:
    """Nobody waits for these: a stream that finds one spent goes on with less, and none stops another."""

    read_ahead: ByteBudget = field(default_factory=lambda: ByteBudget(READ_AHEAD_BYTES))
    windows: ByteBudget = field(default_factory=lambda: ByteBudget(WINDOW_BYTES))
    local: ByteBudget = field(default_factory=lambda: ByteBudget(LOCAL_BYTES))
