"""``python -m lploss``: the command line, where the script ``lploss`` is not on the path."""

from lploss.cli import main

if __name__ == "__main__":
    main()
