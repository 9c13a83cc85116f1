"""The durable record of every call: spool, drainer."""
