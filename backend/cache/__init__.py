"""Answers that were paid for once: exact entries and their store."""
