"""What the console draws; it decides nothing."""
