"""`python -m cli` is the command `docworker`."""

from cli.main import main

main()
