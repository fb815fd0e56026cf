"""What stands for Prefect where a test lets no flow run."""

from __future__ import annotations

from nightcrew.ledger.dispatches import DispatchRow
from nightcrew.ledger.rows import ScopeRow


class NoRuns:
    """A Prefect that takes everything and ends nothing."""

    def start(self, row: DispatchRow, scope: ScopeRow | None) -> str:
        """Every run is taken."""
        return f"run-{row.id}"

    def outcome(self, run_id: str) -> str | None:
        """None has ended."""
        return None

    def crash(self, run_id: str, message: str) -> None:
        """None is given up."""
        raise AssertionError(f"{run_id} was given up: {message}")
