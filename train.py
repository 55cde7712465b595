"""`python train.py [group=option] [key=value] ...` is `retinai train ...`."""

from retinai.cli import main

if __name__ == "__main__":
    main(["train"])
