"""HTTP: the aiohttp application that serves the table of operations."""
