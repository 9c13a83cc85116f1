"""Who is calling: keys, scopes, attribution."""
