"""Ingestion: feeds declared in YAML, JDBC import and export, spool collection, privacy at the door."""
