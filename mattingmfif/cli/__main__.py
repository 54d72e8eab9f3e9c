"""`python -m mattingmfif.cli`."""

from mattingmfif.cli import main

if __name__ == "__main__":
    main()
