"""The OpenAI wire in and out, and the path of a call between."""
