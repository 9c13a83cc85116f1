"""Numbers for the pages, as data frames."""
