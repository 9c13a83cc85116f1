"""What the benchmarks share: processes on their own cores, an upstream, load, tables."""
