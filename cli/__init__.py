"""The command line: click commands over an HTTP client of the daemon. Only `serve` runs the daemon itself."""
