"""Batch jobs: OpenAI's files and batches, their lines, and the lease under which a worker runs them."""
