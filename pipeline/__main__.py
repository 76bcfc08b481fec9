"""``python -m pipeline``: how the supervisor starts its stages."""

from pipeline.cli import main

if __name__ == "__main__":
    main()
