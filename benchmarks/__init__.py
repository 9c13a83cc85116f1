"""One short script per performance claim: `make bench` runs them all and prints what this machine can do."""
