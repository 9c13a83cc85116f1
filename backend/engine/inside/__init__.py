"""Scripts that run with the engine's own Python; they import nothing of Governor."""
