"""Pages that say who may do what, and who did."""
