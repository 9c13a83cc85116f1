"""Mirrors the code: the test of backend/x/y.py is tests/x/test_y.py."""
