"""Training against the tools that people use for it today: ``make bench``, or ``python -m bench.compare --help``."""
