"""Getting pages from a site: requests, retries, limits, and which links to follow. Knows nothing of text or stores."""
