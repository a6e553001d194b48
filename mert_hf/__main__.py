"""`python -m mert_hf`, which is `mert-hf`, where a launcher wants a module: `accelerate launch -m mert_hf embed ...`."""

from mert_hf.cli import main

if __name__ == "__main__":
    main()
