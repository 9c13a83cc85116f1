"""The local engine: launched, watched, measured, swept, priced."""
