"""``python -m mixlaw.cli`` is the command line."""

from mixlaw.cli.app import main

main()
