"""The governor command line."""
