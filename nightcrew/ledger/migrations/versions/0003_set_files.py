"""Inputs of a set's product are files with names of any length."""

import sqlalchemy as sa
from alembic import op


revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("product_input") as batch:
        batch.alter_column("role", existing_type=sa.String(length=48), type_=sa.Text(), existing_nullable=False)


def downgrade() -> None:
    raise NotImplementedError("a ledger is never downgraded: take the copy that the upgrade made")
