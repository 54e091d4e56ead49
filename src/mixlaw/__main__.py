"""``python -m mixlaw`` is the command line."""

from mixlaw.cli.app import main

main()
