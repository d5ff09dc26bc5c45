"""Certificates are found by their end: ended ones are dropped every minute, of thousands of members."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_index("certificates_by_end", "certificates", ["expires_at"])
