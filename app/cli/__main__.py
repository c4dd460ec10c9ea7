"""``python -m app.cli``: the command line, where its script is not installed."""

from app.cli import main

main()
