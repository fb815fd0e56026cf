"""Change times of files: content that was put in place with the same size and modification time is noticed."""

import sqlalchemy as sa
from alembic import op


revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # 0: not known.  The next sweep takes the times over as they are, so that no archive is hashed again for an upgrade.
    op.add_column("path", sa.Column("ctime_ns", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("path", sa.Column("to_compare", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index("ix_path_to_compare", "path", ["to_compare"], sqlite_where=sa.text("to_compare"), postgresql_where=sa.text("to_compare"))


def downgrade() -> None:
    raise NotImplementedError("a ledger is never downgraded: take the copy that the upgrade made")
