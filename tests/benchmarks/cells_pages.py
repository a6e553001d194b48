"""What the pages show of a comparison of cells: tables and pictures; nothing of it is typed.

    accelerate launch --quiet --config_file training/launch/one_device.yaml training/compare.py --budget 10000 \\
        --training_seeds 3 --claims constant_q codebooks mixture --probe linear --output results/targets
    python tests/benchmarks/cells_pages.py --group targets --comparison results/targets

Keeps `results.json` as `training/cells/results/GROUP.json` with its picture, and writes every group's table into
`training/cells/README.md` and all claims into README.md, each where a comment names its place.
"""

import argparse
import json
import re
import shutil
from pathlib import Path

from mert_hf.comparison.claims import claims_table
from mert_hf.comparison.plots import plot_claims
from mert_hf.comparison.table import markdown_table

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "training" / "cells" / "results"
CELLS_PAGE, PAGE = ROOT / "training" / "cells" / "README.md", ROOT / "README.md"


def groups() -> dict[str, dict]:
    """What was found, by the name of the group."""
    return {file.stem: json.loads(file.read_text()) for file in sorted(RESULTS.glob("*.json"))}


def all_claims() -> list[dict]:
    """Every claim that was asked."""
    return [claim for results in groups().values() for claim in results["claims"]]


def put(page: Path, place: str, content: str) -> None:
    """Replace what stands between `<!-- place -->` and `<!-- end -->`."""
    pattern = re.compile(rf"(<!-- {place} -->\n).*?(<!-- end -->)", re.DOTALL)
    text, count = pattern.subn(lambda found: f"{found[1]}{content}{found[2]}", page.read_text())
    if count != 1:
        raise SystemExit(f"{page} has {count} places named {place!r}; it needs one.")
    page.write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--group", help="name of the comparison, as its files are called")
    parser.add_argument("--comparison", type=Path, help="its folder, by training/compare.py")
    arguments = parser.parse_args()
    if arguments.group is not None:
        RESULTS.mkdir(exist_ok=True)
        shutil.copy(arguments.comparison / "results.json", RESULTS / f"{arguments.group}.json")
        shutil.copy(arguments.comparison / "comparison.png", RESULTS / f"{arguments.group}.png")
    for name, results in groups().items():
        put(CELLS_PAGE, name, markdown_table(results))
    put(PAGE, "claims", claims_table(all_claims()))
    plot_claims(
        all_claims(), "What papers say, asked of small cells; 95 % over trainings and test examples", RESULTS / "claims.png"
    )


if __name__ == "__main__":
    main()
