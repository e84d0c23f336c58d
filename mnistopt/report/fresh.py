"""Whether the report of a study shows what there is; nothing heavy is imported here."""

import dataclasses
from pathlib import Path

from mnistopt import __version__
from mnistopt.files import writing_to
from mnistopt.manifest import (
    FIGURES,
    OF_FIGURES,
    PAGE,
    Manifest,
    checksum,
    digest,
)
from mnistopt.results.config import read_config
from mnistopt.results.ledger import SEARCH
from mnistopt.results.predictions import FOLDER
from mnistopt.results.table_files import TABLES


def write_report(workdir: Path, anew: bool = False) -> Path:
    """Writes figures/ and report.html, unless they are of what there is.

    Args:
        workdir: Folder of a study, finished or running.
        anew: Whether to write them even if nothing has changed.

    Returns:
        The path of the page.

    Raises:
        InputError: If it is not a workdir.
        Unwritable: If it cannot be written to.
    """
    manifest = Manifest(workdir, OF_FIGURES)
    # What each run took is not shown, and changes where nothing else does. Nor does the
    # folder count: a copy is as fresh, though its page names the first folder.
    about = dataclasses.asdict(read_config(workdir)) | {"seconds": None}
    sources = [workdir / f"{name}.csv" for name in TABLES]
    sources += sorted(workdir.glob(f"{FOLDER}/*"))
    sources += [workdir / SEARCH]
    # Those of `evaluate`.
    sources += [workdir / FIGURES / f"{name}.csv" for name in ("robustness", "votes")]
    checksums = [(path.name, checksum(path)) for path in sources]
    of = digest(__version__, checksums, about)
    whole = manifest.is_fresh(PAGE, of) and manifest.are_whole(FIGURES)
    if whole and not anew:
        return workdir / PAGE
    from mnistopt.report.study import write_page

    with writing_to(workdir):
        return write_page(workdir, of)
