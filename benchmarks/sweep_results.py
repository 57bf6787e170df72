"""A sweep's figures into docs/sweep.md: ``python benchmarks/sweep_results.py DIR --write docs/sweep.md``; without ``--write`` they are printed."""

import argparse
import sys
from pathlib import Path

from lanewise.errors import UserError
from lanewise.files import write_part
from lanewise.reports.sweep.markdown import results_part
from lanewise.reports.sweep.page import analyse
from lanewise.reports.sweep.results import load_results


def main() -> None:
    """Read the folder of ``lanewise sweep`` and print its results, or put them into a page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument(
        "--write", type=Path, metavar="PAGE", help="put them between the page's markers instead"
    )
    arguments = parser.parse_args()
    try:
        text = results_part(analyse(load_results(arguments.folder)))
        if arguments.write:
            write_part(arguments.write, "results", text, by="benchmarks/sweep_results.py")
        else:
            print(text)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
