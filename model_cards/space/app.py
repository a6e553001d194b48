"""The page of `mert-hf demo` as a Space of the Hub: the model is that of the variable MODEL, mert-small without one."""

import sys

from mert_hf.cli import main

if __name__ == "__main__":
    main(["demo", *sys.argv[1:]])
