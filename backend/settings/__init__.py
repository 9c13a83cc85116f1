"""The live settings document: declared, versioned, reloaded."""
