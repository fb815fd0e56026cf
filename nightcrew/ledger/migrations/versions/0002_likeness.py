"""Exposures that look alike, and indexes that keep the work independent of the archive's size."""

import sqlalchemy as sa
from alembic import op


revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("frame", sa.Column("likeness", sa.String(length=64), nullable=False, server_default=""))
    op.add_column("frame", sa.Column("pixels", sa.String(length=32), nullable=False, server_default=""))
    # An identity is 32 digits, followed by "#" and the hash of the pixels where those had to decide.
    op.execute("UPDATE frame SET likeness = substr(identity, 1, 32), pixels = substr(identity, 34)")
    op.create_index("ix_frame_likeness", "frame", ["likeness"])
    op.create_index("ix_path_folder", "path", ["folder", "id"])
    op.drop_index("ix_product_instrument", "product")
    op.create_index("ix_product_instrument", "product", ["instrument", "recipe", "time_utc"])
    op.create_index("ix_product_input_input_fingerprint", "product_input", ["input_fingerprint"])
    op.create_index("ix_claim_scope", "claim", ["scope_id", "state"])


def downgrade() -> None:
    raise NotImplementedError("a ledger is never downgraded: take the copy that the upgrade made")
