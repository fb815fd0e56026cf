"""The ledger's tables.  Everything that was ever seen, made, tried or sent is a row here and nowhere else.

Times are ISO 8601 UTC text (``2026-03-14T20:31:05.123``), so both databases sort them alike; values that only one
recipe understands are JSON text.  Changes of this file go with a migration in ``migrations/versions``.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

SCHEMA_REVISION = "0004"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite counts rows up by itself only for a column that is exactly INTEGER PRIMARY KEY.
_Id = BigInteger().with_variant(Integer, "sqlite")

scope = Table(
    "scope",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("kind", String(16), nullable=False),  # night, campaign, lab, sensor, mkid
    Column("name", String(255), nullable=False),  # the night's ISO date or the campaign's name
    Column("instrument", String(128), nullable=False),
    Column("state", String(16), nullable=False, default="open"),  # open, closed
    Column("revision", Integer, nullable=False, default=0),  # of its report
    Column("mark", BigInteger, nullable=False, default=0),  # "look again" counter
    Column("planned_mark", BigInteger, nullable=False, default=-1),  # the mark that the last complete plan had read
    Column("reported_mark", BigInteger, nullable=False, default=-1),
    Column("last_arrival_at", String(32), nullable=False, default=""),
    Column("wake_at", String(32), nullable=False, default=""),  # when a waiting group becomes quiet
    Column("touched_at", String(32), nullable=False, default=""),
    Column("mailed_at", String(32), nullable=False, default=""),
    Column("closed_at", String(32), nullable=False, default=""),
    Column("close_asked", Boolean, nullable=False, default=False),
    UniqueConstraint("kind", "name", "instrument"),
)

content = Table(
    "content",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("first_seen_at", String(32), nullable=False),
)

frame = Table(
    "frame",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("identity", String(255), nullable=False, unique=True),
    Column("likeness", String(64), nullable=False, default="", index=True),  # identity without what the pixels tell
    Column("pixels", String(32), nullable=False, default=""),  # hash of the pixel values and sketch of their noise, where it was needed
    Column("scope_id", ForeignKey("scope.id"), nullable=False, index=True),
    Column("sha256", String(64), nullable=False),
    Column("path_id", _Id, nullable=False),  # the path whose bytes count
    Column("kind", String(16), nullable=False),
    Column("header", Text, nullable=False),  # FrameHeader.canonical()
    Column("header_hash", String(32), nullable=False),
    Column("arrived_at", String(32), nullable=False),
)

path = Table(
    "path",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("path", LargeBinary, nullable=False, unique=True),  # absolute, as the file system gives it
    Column("folder", Text, nullable=False),  # the watched folder
    Column("size", BigInteger, nullable=False, default=0),
    Column("mtime_ns", BigInteger, nullable=False, default=0),
    Column("ctime_ns", BigInteger, nullable=False, default=0),  # as of its hash; 0: not known
    Column("sha256", String(64), nullable=False, default="", index=True),
    Column("frame_id", ForeignKey("frame.id"), nullable=True, index=True),
    Column("scope_id", ForeignKey("scope.id"), nullable=True, index=True),
    Column("kind", String(16), nullable=False, default=""),  # of the frame, or foreign, ignored, log ...
    Column("state", String(16), nullable=False),  # waiting, done, degraded, rejected, set_aside
    Column("reason", Text, nullable=False, default=""),
    Column("to_read", Boolean, nullable=False, default=False),  # arrived, not yet ingested
    Column("to_compare", Boolean, nullable=False, default=False),  # its change time moved: its bytes are compared with the hash
    Column("vanished", Boolean, nullable=False, default=False),
    Column("first_seen_at", String(32), nullable=False),
    Column("changed_at", String(32), nullable=False),
    Index("ix_path_folder", "folder", "id"),
    Index("ix_path_to_read", "to_read", sqlite_where=text("to_read"), postgresql_where=text("to_read")),
    Index("ix_path_to_compare", "to_compare", sqlite_where=text("to_compare"), postgresql_where=text("to_compare")),
)

product = Table(
    "product",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("recipe", String(48), nullable=False),
    Column("version", Integer, nullable=False),
    Column("scope_id", ForeignKey("scope.id"), nullable=False),
    Column("key", String(255), nullable=False),  # which of the scope's products of this recipe
    Column("instrument", String(128), nullable=False),
    Column("fingerprint", String(64), nullable=False, unique=True),
    Column("parameters", Text, nullable=False),
    Column("facts", Text, nullable=False),  # what association compares: exposure_s, temperature_c, filter ...
    Column("files", Text, nullable=False),  # [{"role", "path" (below the products root), "sha256", "size"}]
    Column("metrics", Text, nullable=False),
    Column("grade", String(1), nullable=False),
    Column("grade_reasons", Text, nullable=False),  # JSON list
    Column("certified", Boolean, nullable=False, default=True),
    Column("certification", Text, nullable=False, default=""),  # why it failed
    Column("marked_bad", Text, nullable=False, default=""),  # a person's reason
    Column("state", String(16), nullable=False, default="made"),  # made, retired, lost (its file is gone)
    Column("time_utc", String(32), nullable=False, default=""),  # mid time of what it was made of
    Column("made_at", String(32), nullable=False),
    Column("claim_id", _Id, nullable=False),
    Index("ix_product_scope", "scope_id", "recipe", "key"),
    Index("ix_product_instrument", "instrument", "recipe", "time_utc"),
)

product_input = Table(
    "product_input",
    metadata,
    Column("product_id", ForeignKey("product.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("role", Text, nullable=False),  # of a file of a set its name below the set
    Column("frame_id", ForeignKey("frame.id"), nullable=True, index=True),
    Column("input_fingerprint", String(64), nullable=False, index=True),  # content hash of a frame, fingerprint of a product
    Column("left_out", Text, nullable=False, default=""),  # why the recipe did not use it
)

current = Table(
    "current",
    metadata,
    Column("scope_id", ForeignKey("scope.id"), primary_key=True),
    Column("recipe", String(48), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("product_id", ForeignKey("product.id"), nullable=False, index=True),
    Column("claim_id", _Id, nullable=False),  # compare-and-swap: an older claim never replaces a newer one
)

claim = Table(
    "claim",
    metadata,
    Column("id", _Id, primary_key=True),  # grows: the token
    Column("scope_id", ForeignKey("scope.id"), nullable=False),
    Column("recipe", String(48), nullable=False),  # or "#plan"
    Column("key", String(255), nullable=False),
    Column("fingerprint", String(64), nullable=False, index=True),
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("pid_started", Float, nullable=False),
    Column("heartbeat", BigInteger, nullable=False, default=0),
    Column("state", String(16), nullable=False),  # running, done, failed, again (transient), died
    Column("reason", Text, nullable=False, default=""),
    Column("trace", Text, nullable=False, default=""),
    Column("forgiven", Boolean, nullable=False, default=False),  # a person asked to try again
    Column("started_at", String(32), nullable=False),
    Column("ended_at", String(32), nullable=False, default=""),
    Index("ix_claim_scope", "scope_id", "state"),
    Index(
        "uq_claim_running",
        "scope_id",
        "recipe",
        "key",
        unique=True,
        sqlite_where=text("state = 'running'"),
        postgresql_where=text("state = 'running'"),
    ),
)

measurement = Table(
    "measurement",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("product_id", ForeignKey("product.id"), nullable=False, index=True),
    Column("instrument", String(128), nullable=False),
    Column("camera", String(255), nullable=False, default=""),
    Column("quantity", String(48), nullable=False),
    Column("value", Float, nullable=True),
    Column("error", Float, nullable=True),
    Column("unit", String(32), nullable=False),
    Column("where_", Text, nullable=False, default="{}"),
    Column("note", Text, nullable=False, default=""),
    Column("night", String(32), nullable=False),
    Index("ix_measurement_trend", "instrument", "quantity", "night"),
)

dispatch = Table(
    "dispatch",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("flow", String(32), nullable=False),
    Column("scope_id", ForeignKey("scope.id"), nullable=True),
    Column("wish", Text, nullable=False, default="{}"),
    Column("state", String(16), nullable=False, default="new"),  # new, accepted, running, ended
    Column("run_id", String(64), nullable=False, default=""),
    Column("outcome", Text, nullable=False, default=""),
    Column("created_at", String(32), nullable=False),
    Column("changed_at", String(32), nullable=False),
    Index("ix_dispatch_state", "state"),
)

report = Table(
    "report",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("scope_id", ForeignKey("scope.id"), nullable=False, index=True),
    Column("revision", Integer, nullable=False),
    Column("path", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("status", String(16), nullable=False),  # good, attention, bad, empty
    Column("mark", BigInteger, nullable=False),
    Column("made_at", String(32), nullable=False),
)

mail = Table(
    "mail",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("morning", String(16), nullable=False, unique=True),  # the local calendar date
    Column("message_id", String(255), nullable=False, unique=True),
    Column("subject", Text, nullable=False),
    Column("message", LargeBinary, nullable=False),
    Column("state", String(16), nullable=False),  # queued, sending, delivered, unknown, refused
    Column("attempts", Integer, nullable=False, default=0),
    Column("last_error", Text, nullable=False, default=""),
    Column("next_try_at", String(32), nullable=False, default=""),
    Column("made_at", String(32), nullable=False),
    Column("delivered_at", String(32), nullable=False, default=""),
)

happening = Table(
    "happening",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("at", String(32), nullable=False),
    Column("source", String(32), nullable=False),  # service, watcher, disk, mail ...
    Column("level", String(16), nullable=False),  # info, warning, problem
    Column("text", Text, nullable=False),
    Column("scope_id", ForeignKey("scope.id"), nullable=True),
)

sign_of_life = Table(
    "sign_of_life",
    metadata,
    Column("source", String(48), primary_key=True),
    Column("at", String(32), nullable=False),
    Column("text", Text, nullable=False, default=""),
)
