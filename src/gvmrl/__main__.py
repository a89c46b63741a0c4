"""`python -m gvmrl`."""

from gvmrl.cli import main

if __name__ == "__main__":
    main()
