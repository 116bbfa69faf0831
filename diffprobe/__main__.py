"""`python -m diffprobe`."""

from diffprobe.cli import main

if __name__ == "__main__":
    main()
