"""Money: what was used, what it is priced at, what it cost."""
