"""`python -m flmr` is `flmr`."""

from flmr.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
