"""Prometheus metrics and the one log line per call."""
