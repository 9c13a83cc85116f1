"""Calls to deployments: retries, fallback, deadlines, coalescing."""
