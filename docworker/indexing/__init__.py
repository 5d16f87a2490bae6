"""From a URL in the frontier to searchable chunks. Knows nothing of questions."""
