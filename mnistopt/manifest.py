"""What the files of a study were when they were written, and what they were made of.

Tables, predictions, pictures and pages are made of something else, and rebuilt where
they are missing, damaged, or of something older. That is known by `.manifest.json`: per
file the CRC-32 of what was written, and a digest of what it was made of. It is a help,
and not a source: without it, or if it is damaged, files are rebuilt.
"""

import contextlib
import hashlib
import json
import os
import warnings
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mnistopt.files import replacing, set_aside, text_checksum

# Of a run, and of what is drawn from its files meanwhile, perhaps on another host: each
# is written by one at a time.
MANIFEST, OF_FIGURES = ".manifest.json", "figures/.manifest.json"
# The page of a study, and the folder of its pictures.
PAGE, FIGURES = "report.html", "figures"


class _Entry(NamedTuple):
    """A file: the CRC-32 that it has, or else had before, and what it was made of."""

    checksums: tuple[int, ...]
    of: str


def checksum(path: Path) -> int | None:
    """Returns the CRC-32 of a file; None if there is none to be read."""
    try:
        return zlib.crc32(path.read_bytes())
    except OSError:
        return None


def digest(*parts: Any) -> str:
    """Returns a short name of what something is made of, given as JSON has it."""
    content = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Lets a run and a drawing of its report write in turn, if it can."""
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        yield
        return
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


class Manifest:
    """The files of a study that runs and reports have written."""

    def __init__(self, folder: Path, name: str = MANIFEST):
        """Reads and writes nothing yet.

        Args:
            folder: The study's folder.
            name: The path of the manifest in it.
        """
        self._folder, self._path = folder, folder / name

    def is_altered(self, name: str) -> bool:
        """Says whether a file exists and is known to have changed since it was written.

        Args:
            name: The file's path in the study's folder, with slashes.
        """
        entry = self._read().get(name)
        while True:
            now = checksum(self._folder / name)
            if entry is None or now is None or now in entry.checksums:
                return False
            # A run may have written it meanwhile.
            before, entry = entry, self._read().get(name)
            if entry == before:
                return True

    def fresh(self, of: Mapping[str, str]) -> set[str]:
        """Returns those files that are as written, and made of what they are to be of.

        Args:
            of: The digest of that, by the path of each file.
        """
        entries = self._read()
        return {
            name
            for name in of
            if (entry := entries.get(name))
            and entry.of == of[name]
            and checksum(self._folder / name) == entry.checksums[0]
        }

    def is_fresh(self, name: str, of: str) -> bool:
        """Says the same of one file."""
        return bool(self.fresh({name: of}))

    def are_whole(self, folder: str) -> bool:
        """Says whether all files of a folder that were written are as they were."""
        entries = self._read().items()
        of = {
            name: entry.of for name, entry in entries if name.startswith(f"{folder}/")
        }
        return self.fresh(of) == of.keys()

    def write(
        self, contents: Mapping[str, bytes], of: str | Mapping[str, str] = ""
    ) -> None:
        """Writes files, each in one step, but for those that are so already.

        What is there and was changed by somebody is set aside, to the folder `damaged`.

        Args:
            contents: The content of each file by its path, as in `is_altered`.
            of: The digest of what they are made of, or of each, by its path.
        """
        with _alone(self._folder):
            entries, todo = self._read(), dict[str, bytes]()
            before = dict(entries)
            for name, content in contents.items():
                new, now = zlib.crc32(content), checksum(self._folder / name)
                entry = entries.get(name)
                if new != now:
                    todo[name] = content
                    if entry and now is not None and now not in entry.checksums:
                        place = self._folder / name
                        kept = set_aside(place, self._folder, place.name)
                        warnings.warn(
                            f"{place} was changed after it was written: it is kept as "
                            f"{kept}, and written again",
                            stacklevel=2,
                        )
                        now = None
                # The one before too: a kill may come before the file takes its place.
                known = (new,) if now in (new, None) else (new, now)
                entries[name] = _Entry(known, of if isinstance(of, str) else of[name])
            if entries != before:
                files = {name: entry._asdict() for name, entry in entries.items()}
                text = json.dumps({"files": files, "checksum": text_checksum(files)})
                with replacing(self._path) as partial:
                    partial.write_text(text, encoding="utf-8")
            for name, content in todo.items():
                with replacing(self._folder / name) as partial:
                    partial.write_bytes(content)

    def _read(self) -> dict[str, _Entry]:
        """Returns what is known; nothing if it is missing or damaged."""
        with contextlib.suppress(
            OSError, ValueError, TypeError, LookupError, AttributeError
        ):
            content = json.loads(self._path.read_text(encoding="utf-8"))
            files = content["files"]
            if content["checksum"] == text_checksum(files):
                return {
                    name: _Entry(tuple(entry["checksums"]), entry["of"])
                    for name, entry in files.items()
                }
        return {}
