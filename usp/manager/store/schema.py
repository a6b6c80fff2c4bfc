"""The tables, as the newest migration leaves them (a test compares the two).

Names: prefix `usp_`, at most 30 bytes, every constraint named, and no column is called by a word that an engine
reserves (`number`, `comment`, `date`, `user`, `session`, `level`, `mode`).
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    Column,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from usp.manager.store.columns import BigInt, Flag, Json, UtcTime, Words

VERSION_TABLE: Final = "usp_schema"  # Alembic's
metadata = MetaData()

catalog = Table(
    "usp_catalog",
    metadata,
    Column("id", Integer, autoincrement=False, nullable=False),  # always 1: there is one catalog
    Column("revision", BigInt, nullable=False),
    PrimaryKeyConstraint("id", name="usp_catalog_pk"),
)

item = Table(
    "usp_item",
    metadata,
    Column("id", String(36), nullable=False),
    Column("kind", String(40), nullable=False),
    Column("name", String(255), nullable=False),
    Column("revision", BigInt, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("document", Json, nullable=False),  # the public fields
    Column("sealed", Json),  # the secret ones: field -> sealed value
    Column("facts", Json),
    PrimaryKeyConstraint("id", name="usp_item_pk"),
    UniqueConstraint("kind", "name", name="usp_item_name_uq"),
    Index("usp_item_revision_ix", "revision"),
)

item_revision = Table(
    "usp_item_revision",
    metadata,
    Column("item_id", String(36), nullable=False),
    Column("revision", BigInt, autoincrement=False, nullable=False),
    Column("kind", String(40), nullable=False),
    Column("name", String(255), nullable=False),
    Column("action", String(10), nullable=False),
    Column("author", String(255), nullable=False),
    Column("made_at", UtcTime, nullable=False),
    Column("document", Json),
    Column("secrets", Json),  # names of the secret fields that changed
    PrimaryKeyConstraint("item_id", "revision", name="usp_item_revision_pk"),
    Index("usp_item_rev_revision_ix", "revision"),
)

data_key = Table(
    "usp_data_key",
    metadata,
    Column("id", String(36), nullable=False),
    Column("place", Integer, nullable=False),  # the highest one is active
    Column("kek_id", String(16), nullable=False),
    Column("wrapped", String(200), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("id", name="usp_data_key_pk"),
    UniqueConstraint("place", name="usp_data_key_place_uq"),
)

version = Table(
    "usp_version",
    metadata,
    Column("server", String(255), nullable=False),
    Column("version", BigInt, autoincrement=False, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("catalog_revision", BigInt, nullable=False),
    Column("author", String(255), nullable=False),
    Column("made_at", UtcTime, nullable=False),
    Column("note", Words(1000)),
    Column("push", String(20), nullable=False),
    Column("reason", Words(2000)),
    Column("problems", Json),
    Column("pushed_at", UtcTime),
    PrimaryKeyConstraint("server", "version", name="usp_version_pk"),
)

# Apart, because SQLite reads and writes rows as a whole, and a version's is looked at and changed several times a push.
version_content = Table(
    "usp_version_content",
    metadata,
    Column("server", String(255), nullable=False),
    Column("version", BigInt, autoincrement=False, nullable=False),
    Column("content", Text, nullable=False),  # sealed
    PrimaryKeyConstraint("server", "version", name="usp_version_content_pk"),
    ForeignKeyConstraint(
        ["server", "version"], ["usp_version.server", "usp_version.version"], name="usp_version_content_fk"
    ),
)

rollout = Table(
    "usp_rollout",
    metadata,
    Column("id", BigInt, Identity(), nullable=False),
    Column("made_at", UtcTime, nullable=False),
    Column("author", String(255), nullable=False),
    Column("note", Words(1000)),
    Column("catalog_revision", BigInt, nullable=False),
    Column("canary", Flag, nullable=False),
    Column("forced", Flag, nullable=False),
    Column("patience", Integer, nullable=False),  # seconds
    Column("steps", Json, nullable=False),
    Column("state", String(10), nullable=False),
    Column("reason", Words(2000)),
    Column("ended_at", UtcTime),
    PrimaryKeyConstraint("id", name="usp_rollout_pk"),
    Index("usp_rollout_state_ix", "state"),
)

rollout_content = Table(
    "usp_rollout_content",
    metadata,
    Column("rollout_id", BigInt, autoincrement=False, nullable=False),
    Column("server", String(255), nullable=False),
    Column("content", Text, nullable=False),  # sealed
    PrimaryKeyConstraint("rollout_id", "server", name="usp_rollout_content_pk"),
    ForeignKeyConstraint(["rollout_id"], ["usp_rollout.id"], name="usp_rollout_content_fk"),
)

server = Table(
    "usp_server",
    metadata,
    Column("name", String(255), nullable=False),
    Column("desired", BigInt, nullable=False),
    Column("state", String(20), nullable=False),
    Column("reason", Words(2000)),
    Column("report", Text),  # a Report as JSON
    Column("seen_at", UtcTime),
    Column("checked_at", UtcTime),
    Column("reported_at", UtcTime),  # by the database's clock
    Column("reported_to", Words(40)),  # which manager
    Column("looks", BigInt),  # counted, so that of two managers that look at once both are noted
    PrimaryKeyConstraint("name", name="usp_server_pk"),
)

server_change = Table(
    "usp_server_change",
    metadata,
    Column("id", BigInt, Identity(), nullable=False),
    Column("server", String(255), nullable=False),
    Column("made_at", UtcTime, nullable=False),  # by the database's clock
    Column("subject", Words(600)),
    Column("was", String(40), nullable=False),
    Column("state", String(40), nullable=False),
    Column("reason", Words(2000)),
    PrimaryKeyConstraint("id", name="usp_server_change_pk"),
    Index("usp_server_change_server_ix", "server", "id"),
)

run_state = Table(
    "usp_run_state",
    metadata,
    Column("id", String(36), nullable=False),
    Column("state", String(10), nullable=False),
    Column("author", String(255), nullable=False),
    Column("made_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("id", name="usp_run_state_pk"),
)

user = Table(
    "usp_user",
    metadata,
    Column("id", String(36), nullable=False),
    Column("name", String(255), nullable=False),
    Column("role", String(20), nullable=False),
    Column("password_hash", String(500)),
    Column("full_name", Words(255)),
    Column("email", Words(255)),
    Column("enabled", Flag, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("id", name="usp_user_pk"),
    UniqueConstraint("name", name="usp_user_name_uq"),
)

factor = Table(
    "usp_factor",
    metadata,
    Column("user_id", String(36), nullable=False),
    Column("sealed", String(400), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("confirmed_at", UtcTime),
    Column("last_step", BigInt, nullable=False),
    PrimaryKeyConstraint("user_id", name="usp_factor_pk"),
    ForeignKeyConstraint(["user_id"], ["usp_user.id"], name="usp_factor_user_fk"),
)

identity = Table(
    "usp_identity",
    metadata,
    Column("issuer", String(400), nullable=False),
    Column("subject", String(255), nullable=False),
    Column("user_id", String(36), nullable=False),
    PrimaryKeyConstraint("issuer", "subject", name="usp_identity_pk"),
    ForeignKeyConstraint(["user_id"], ["usp_user.id"], name="usp_identity_user_fk"),
)

recovery_code = Table(
    "usp_recovery_code",
    metadata,
    Column("user_id", String(36), nullable=False),
    Column("digest", String(64), nullable=False),
    PrimaryKeyConstraint("user_id", "digest", name="usp_recovery_code_pk"),
    ForeignKeyConstraint(["user_id"], ["usp_user.id"], name="usp_recovery_code_user_fk"),
)

token = Table(
    "usp_token",
    metadata,
    Column("id", String(36), nullable=False),
    Column("name", String(255), nullable=False),
    Column("user_id", String(36), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("role", String(20), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime),
    Column("used_at", UtcTime),
    PrimaryKeyConstraint("id", name="usp_token_pk"),
    UniqueConstraint("digest", name="usp_token_digest_uq"),
    UniqueConstraint("user_id", "name", name="usp_token_name_uq"),
    ForeignKeyConstraint(["user_id"], ["usp_user.id"], name="usp_token_user_fk"),
)

login = Table(
    "usp_login",
    metadata,
    Column("id", String(36), nullable=False),
    Column("user_id", String(36), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("peer", Words(64)),
    Column("created_at", UtcTime, nullable=False),
    Column("used_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("id", name="usp_login_pk"),
    UniqueConstraint("digest", name="usp_login_digest_uq"),
    ForeignKeyConstraint(["user_id"], ["usp_user.id"], name="usp_login_user_fk"),
    Index("usp_login_user_ix", "user_id"),
)

lockout = Table(
    "usp_lockout",
    metadata,
    Column("subject", String(300), nullable=False),  # `user:NAME` (anybody's or nobody's) or `address:ADDRESS`
    Column("failures", Integer, nullable=False),
    Column("failed_at", UtcTime, nullable=False),
    Column("locked_until", UtcTime),
    PrimaryKeyConstraint("subject", name="usp_lockout_pk"),
    Index("usp_lockout_failed_ix", "failed_at"),
)

setting = Table(
    "usp_setting",
    metadata,
    Column("name", String(60), nullable=False),
    Column("content", Json),
    Column("author", String(255), nullable=False),
    Column("made_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("name", name="usp_setting_pk"),
)

event = Table(
    "usp_event",
    metadata,
    Column("id", BigInt, Identity(), nullable=False),
    Column("made_at", UtcTime, nullable=False),
    Column("author", Words(255)),
    Column("action", String(60), nullable=False),
    Column("target", Words(300)),
    Column("peer", Words(64)),
    Column("detail", Json),
    Column("server", Words(255)),  # that told it; NULL: what administrators did
    Column("listener", Words(255)),
    Column("session_id", Words(64)),
    Column("outcome", Words(40)),
    Column("chain", Words(16)),
    Column("seq", BigInt),
    PrimaryKeyConstraint("id", name="usp_event_pk"),
    Index("usp_event_chain_ix", "server", "chain", "seq"),
    Index("usp_event_server_ix", "server", "id"),
    Index("usp_event_author_ix", "author", "id"),
    Index("usp_event_session_ix", "session_id", "id"),
    Index("usp_event_made_ix", "made_at"),
)

event_chain = Table(
    "usp_event_chain",  # how far the events of a server's chain are stored
    metadata,
    Column("server", String(255), nullable=False),
    Column("chain", String(16), nullable=False),
    Column("seq", BigInt, autoincrement=False, nullable=False),
    Column("hash", String(64), nullable=False),
    Column("begun_at", UtcTime, nullable=False),
    Column("stored_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("server", "chain", name="usp_event_chain_pk"),
)

webhook = Table(
    "usp_webhook",  # who is told of events
    metadata,
    Column("id", String(36), nullable=False),
    Column("name", String(255), nullable=False),
    Column("url", String(2000), nullable=False),
    Column("sealed", String(400), nullable=False),
    Column("wanted", Json),
    Column("enabled", Flag, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("told", BigInt, autoincrement=False, nullable=False),  # number of the last event that it is done with
    Column("delivered", BigInt, autoincrement=False, nullable=False),
    Column("dead", BigInt, autoincrement=False, nullable=False),
    Column("failures", Integer, nullable=False),  # at the event after that one
    Column("failing_since", UtcTime),
    Column("retry_at", UtcTime),
    Column("error", Words(300)),
    PrimaryKeyConstraint("id", name="usp_webhook_pk"),
    UniqueConstraint("name", name="usp_webhook_name_uq"),
)

point = Table(
    "usp_point",  # of the charts: what all servers had counted at a moment
    metadata,
    Column("id", BigInt, autoincrement=False, nullable=False),  # the moment, in periods since 1970
    Column("counts", Json),
    PrimaryKeyConstraint("id", name="usp_point_pk"),
)

guard = Table(
    "usp_guard",  # its one row is locked by whoever upgrades the schema
    metadata,
    Column("id", Integer, autoincrement=False, nullable=False),
    PrimaryKeyConstraint("id", name="usp_guard_pk"),
)

lease = Table(
    "usp_lease",
    metadata,
    Column("name", String(255), nullable=False),
    Column("holder", String(40), nullable=False),
    Column("fence", BigInt, autoincrement=False, nullable=False),  # counts the holders
    Column("held_until", UtcTime, nullable=False),  # by the database's clock
    PrimaryKeyConstraint("name", name="usp_lease_pk"),
)

receipt = Table(
    "usp_receipt",
    metadata,
    Column("id", String(36), nullable=False),  # of one transaction
    Column("written", Flag, nullable=False),  # false: it was not committed, and cannot be any more
    Column("made_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("id", name="usp_receipt_pk"),
    Index("usp_receipt_made_ix", "made_at"),
)
