-- What the platform wrote into a new SQLite state database before that had versions (sqlite3's dump of it).
CREATE TABLE drift (feed VARCHAR(64) NOT NULL, column_name VARCHAR(128) NOT NULL, type VARCHAR(128) NOT NULL, first_ds
    VARCHAR(10) NOT NULL, PRIMARY KEY (feed, column_name));
CREATE TABLE export_rows (ds VARCHAR(10) NOT NULL, target VARCHAR(128) NOT NULL, digest VARCHAR(64) NOT NULL,
    row_number BIGINT NOT NULL, row_key TEXT NOT NULL, reason VARCHAR(255) NOT NULL, PRIMARY KEY (ds, target, digest,
    row_number));
INSERT INTO "export_rows" VALUES('2026-03-01','segments','e1',1,'c-9','too long');
CREATE TABLE exports (ds VARCHAR(10) NOT NULL, target VARCHAR(128) NOT NULL, n_rows BIGINT NOT NULL, digest
    VARCHAR(64) NOT NULL, exported_at DATETIME NOT NULL, PRIMARY KEY (ds, target));
INSERT INTO "exports" VALUES('2026-03-01','segments',118,'e1','2026-03-02 08:30:00.000000');
CREATE TABLE facts (name VARCHAR(64) NOT NULL, value TEXT, PRIMARY KEY (name));
INSERT INTO "facts" VALUES('first_day','2026-03-01');
CREATE TABLE files (feed VARCHAR(64) NOT NULL, digest VARCHAR(64) NOT NULL, path TEXT NOT NULL, ds VARCHAR(10) NOT
    NULL, n_bytes BIGINT NOT NULL, PRIMARY KEY (feed, digest));
INSERT INTO "files" VALUES('shop__orders','d1','orders-1.csv','2026-03-01',10);
CREATE TABLE gate_verdicts (ds VARCHAR(10) NOT NULL, gate VARCHAR(32) NOT NULL, table_name VARCHAR(64) NOT NULL, rule
    VARCHAR(160) NOT NULL, column_name VARCHAR(64), success BOOLEAN NOT NULL, observed TEXT, expected TEXT, sample
    TEXT, recorded_at DATETIME NOT NULL, PRIMARY KEY (ds, gate, table_name, rule));
INSERT INTO "gate_verdicts" VALUES('2026-03-01','raw','raw.shop__orders','volume',NULL,'1','120','1 or more',NULL,'2026-03-02 08:30:00.000000');
INSERT INTO "gate_verdicts" VALUES('2026-03-01','raw','raw.shop__orders','amount is at least 0','amount','0','1 of 120','0','[{"order_id": "o-17", "amount": "-5.00"}]','2026-03-02 08:30:00.000000');
CREATE TABLE held_rows (feed VARCHAR(64) NOT NULL, ds VARCHAR(10) NOT NULL, source VARCHAR(255) NOT NULL,
    source_partition INTEGER NOT NULL, source_position BIGINT NOT NULL, decision VARCHAR(12) NOT NULL, loaded_ds
    VARCHAR(10), decided_by VARCHAR(64) NOT NULL, decided_at DATETIME NOT NULL, PRIMARY KEY (feed, ds, source,
    source_partition, source_position));
CREATE TABLE leases (name VARCHAR(128) NOT NULL, holder VARCHAR(64) NOT NULL, who VARCHAR(64) NOT NULL, host
    VARCHAR(128) NOT NULL, pid INTEGER NOT NULL, pid_started FLOAT NOT NULL, acquired_at DATETIME NOT NULL,
    heartbeat_at DATETIME NOT NULL, expires_at DATETIME NOT NULL, PRIMARY KEY (name));
CREATE TABLE loads (feed VARCHAR(64) NOT NULL, ds VARCHAR(10) NOT NULL, load_id VARCHAR(96) NOT NULL, inputs TEXT NOT
    NULL, status VARCHAR(12) NOT NULL, n_rows BIGINT, n_quarantined BIGINT, started_at DATETIME NOT NULL, published_at
    DATETIME, PRIMARY KEY (feed, ds));
INSERT INTO "loads" VALUES('shop__orders','2026-03-01','shop__orders@2026-03-01','{"first": "2026-03-01", "start": "2026-03-01"}','published',120,3,'2026-03-02 08:30:00.000000','2026-03-02 08:30:00.000000');
CREATE TABLE off_days (stage VARCHAR(64) NOT NULL, ds VARCHAR(10) NOT NULL, reason TEXT NOT NULL, possible_from
    VARCHAR(10), recorded_at DATETIME NOT NULL, PRIMARY KEY (stage, ds));
CREATE TABLE privacy_keys (key_id VARCHAR(16) NOT NULL, added_at DATETIME NOT NULL, retired_at DATETIME, PRIMARY KEY
    (key_id));
CREATE TABLE promotions (promotion_id INTEGER NOT NULL, model VARCHAR(64) NOT NULL, from_version VARCHAR(16),
    to_version VARCHAR(16) NOT NULL, reason TEXT NOT NULL, metrics TEXT NOT NULL, data_fingerprint TEXT NOT NULL,
    promoted_by VARCHAR(64) NOT NULL, promoted_at DATETIME NOT NULL, PRIMARY KEY (promotion_id));
INSERT INTO "promotions" VALUES(1,'churn',NULL,'1','first','{"c_index": 0.7}','shop__orders@2026-03-01','ana','2026-03-02 08:30:00.000000');
CREATE TABLE published_days (stage VARCHAR(64) NOT NULL, ds VARCHAR(10) NOT NULL, published_at DATETIME NOT NULL,
    PRIMARY KEY (stage, ds));
INSERT INTO "published_days" VALUES('raw','2026-03-01','2026-03-02 08:30:00.000000');
INSERT INTO "published_days" VALUES('marts','2026-03-01','2026-03-02 08:30:00.000000');
CREATE TABLE reach (ds VARCHAR(10) NOT NULL, first_ds VARCHAR(10) NOT NULL, PRIMARY KEY (ds));
CREATE TABLE reveals (reveal_id INTEGER NOT NULL, table_name VARCHAR(128) NOT NULL, column_name VARCHAR(64) NOT NULL,
    row_key TEXT NOT NULL, ds VARCHAR(10) NOT NULL, reason TEXT NOT NULL, revealed_by VARCHAR(128) NOT NULL,
    revealed_at DATETIME NOT NULL, PRIMARY KEY (reveal_id));
INSERT INTO "reveals" VALUES(1,'raw.shop__customers','phone','c-9','2026-03-01','asked for it','ana','2026-03-02 08:30:00.000000');
CREATE INDEX loads_by_day ON loads (ds);
CREATE INDEX files_by_path ON files (feed, path);
