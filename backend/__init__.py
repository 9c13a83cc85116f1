"""Governor: what LLM calls cost, how fast they are, and the knobs that change both."""
