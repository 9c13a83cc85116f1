"""The only SQL: tables, one query file per noun, migrations."""
