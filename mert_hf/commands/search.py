"""A catalogue, asked: `search`, `duplicates`, `index`."""

import argparse
import json

from mert_hf.commands.base import Command

SEARCH_DESCRIPTION = """\
The tracks of a catalogue that sound most like one.

    mert-hf search catalogue song.mp3                              # any audio file, also one of the catalogue
    mert-hf search catalogue 17 -k 5 --where "duration_s > 60"     # the track in row 17
    mert-hf search catalogue vector.npy --projection centre        # a vector of the same model

Scores are cosines after the projection: centre takes away what all tracks have in common, whiten makes all directions equally
wide as well; both are fitted on the catalogue. Which one finds more, `mert-hf retrieval` tells of a model."""


def _add_catalogue(parser: argparse.ArgumentParser, projection: str) -> None:
    parser.add_argument("catalogue", help="folder that `mert-hf embed` has filled")
    parser.add_argument("--column", help="vectors to compare, such as layer_07, where there are several")
    kinds = ("none", "centre", "whiten")
    parser.add_argument("--projection", choices=kinds, default=projection, help=f"before comparing (default: {projection})")


def _search_arguments(parser: argparse.ArgumentParser) -> None:
    _add_catalogue(parser, "none")
    parser.add_argument("query", help="audio file, path or name of a track of the catalogue, number of a row, or .npy vector")
    parser.add_argument("-k", "--count", type=int, default=10, help="tracks to find (default: 10)")
    parser.add_argument(
        "--where", action="append", default=[], metavar="CONDITION", help='such as "name ~ live"; may be repeated'
    )
    parser.add_argument(
        "--method", choices=("auto", "exact", "graph"), default="auto", help="see `mert-hf index` (default: auto)"
    )
    parser.add_argument("--device", help="to embed the query on (default: the fastest there is)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def _search(arguments: argparse.Namespace) -> None:
    from mert_hf.catalogue import Catalogue
    from mert_hf.common.files import is_there
    from mert_hf.common.logs import show_logs

    show_logs()
    catalogue = Catalogue(arguments.catalogue, arguments.column, arguments.projection)
    query = arguments.query
    if query.isascii() and query.isdigit() and not is_there(query):
        query = int(query)
    for hit in catalogue.search(query, arguments.count, arguments.where, arguments.method, arguments.device):
        print(json.dumps(vars(hit)) if arguments.json else f"{hit.score:7.4f}  {hit.row:6d}  {_one_line(hit.path)}")


def _duplicate_arguments(parser: argparse.ArgumentParser) -> None:
    _add_catalogue(parser, "centre")
    parser.add_argument("--threshold", type=float, default=0.98, help="least cosine of two that are the same (default: 0.98)")
    parser.add_argument("--json", action="store_true", help="one JSON object a group and line")


def _duplicates(arguments: argparse.Namespace) -> None:
    from mert_hf.catalogue import Catalogue, find_duplicates

    catalogue = Catalogue(arguments.catalogue, arguments.column, arguments.projection)
    groups = find_duplicates(catalogue, arguments.threshold)
    paths = catalogue.rows["path"]
    for group in groups:
        named = [paths[row].as_py() for row in group.rows]
        if arguments.json:
            print(json.dumps({**vars(group), "paths": named}))
            continue
        print("equal files" if group.same_content else f"alike, {group.least_score:.4f}")
        for row, path in zip(group.rows, named, strict=True):
            print(f"  {row:6d}  {_one_line(path)}")
    if not arguments.json:
        print(f"{len(groups)} groups among {len(catalogue)} tracks")


def _index(arguments: argparse.Namespace) -> None:
    from mert_hf.catalogue import Catalogue

    print(Catalogue(arguments.catalogue, arguments.column, arguments.projection).build_graph())


def _one_line(path: str) -> str:
    """A path as it is, or quoted where it would break the line."""
    return path if path.isprintable() else json.dumps(path, ensure_ascii=False)


SEARCH = Command("search", "the tracks of a catalogue that sound most like one", _search_arguments, _search, SEARCH_DESCRIPTION)
DUPLICATES = Command("duplicates", "tracks of a catalogue that are the same", _duplicate_arguments, _duplicates)
INDEX = Command(
    "index",
    "a graph of neighbours (HNSW), for catalogues of 700 thousand tracks and more",
    lambda parser: _add_catalogue(parser, "none"),
    _index,
)
