"""``python -m stepax``: the command line."""

from stepax.cli import main

if __name__ == "__main__":
    main()
