"""Attack the package with damaged and absurd input, a line for every family; findings are told in full.

    python tests/reliability/fuzz.py --inputs 3200 --seed 0
    python tests/reliability/fuzz.py --family label_store --first 17 --inputs 1   # one input again

A family is a file `attack_NAME.py` beside this one with `DOCUMENTED`, the errors that may come of its inputs, and
`prepare(folder)`, which returns the function that strikes once with what it draws from the generator it is given.
"""

import argparse
import importlib.util
import logging
import os
import sys
import tempfile
import warnings
from pathlib import Path

HERE = Path(__file__).parent
FAMILIES = sorted(file.stem.removeprefix("attack_") for file in HERE.glob("attack_*.py"))


def run_family(name: str, inputs: int, seed: int, first: int = 0):
    """One family's report."""
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    from fuzzing import attack

    spec = importlib.util.spec_from_file_location(f"attack_{name}", HERE / f"attack_{name}.py")
    family = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(family)
    with tempfile.TemporaryDirectory() as folder:
        return attack(name, family.prepare(Path(folder)), family.DOCUMENTED, inputs, seed, first)


def main() -> None:
    """Run the families that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=FAMILIES, nargs="+", default=FAMILIES, help="which (default: all)")
    parser.add_argument("--inputs", type=int, default=3200, help="of each family (default: 3200)")
    parser.add_argument("--seed", type=int, default=0, help="of all draws (default: 0)")
    parser.add_argument("--first", type=int, default=0, help="number of the first input (default: 0)")
    arguments = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    found = 0
    for name in arguments.family:
        report = run_family(name, arguments.inputs, arguments.seed, arguments.first)
        print(report.line(), flush=True)
        for finding in report.findings[:20]:
            print(finding, flush=True)
        found += len(report.findings)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
