"""Pages that change how calls are answered."""
