"""A study's trials as files for where they are used."""

import html
from pathlib import Path
from typing import Any

from mnistopt.files import check_path
from mnistopt.study.examples import study_data
from mnistopt.study.export.card import Source, sentences
from mnistopt.study.export.run import ALWAYS_INT8, FILES, check_format, export

ENSEMBLE = "ensemble"


class Exported(dict[str, Any]):
    """What is known of an exported classifier; a notebook shows a page itself."""

    def _repr_html_(self) -> str:
        if self["path"].endswith(".html"):
            page = html.escape(Path(self["path"]).read_text(encoding="utf-8"))
            return (
                f'<iframe srcdoc="{page}" title="Draw a digit" width="100%" '
                'height="900" style="border: 0"></iframe>'
            )
        lines = [f"{self['path']}, {self['bytes']:,} bytes", *sentences(self)]
        return "<br>".join(map(html.escape, lines))


def export_study(
    study: Any,
    format: str,
    trial: str,
    int8: bool,
    weights: str,
    path: str | Path | None,
    data_dir: str | Path | None,
) -> Exported:
    """Does what `Study.export` says.

    Args:
        study: The study.
        format: See there, and for the others.
        trial: See there.
        int8: See there.
        weights: See there.
        path: See there.
        data_dir: See there.
    """
    check_format(format, int8)
    several = trial == ENSEMBLE
    names = study.siblings() if several else [study.trial(trial)["trial"]]
    source = Source(
        networks=[
            (study.network(name), study.variables(name, weights)) for name in names
        ],
        data=study_data(study.config, data_dir),
        about=study.config.data,
        study=study.workdir.name,
        trial=ENSEMBLE if several else names[0],
        trials=names,
        settings=study.settings(study.trial(names[0])),
    )
    file = check_path("path", path)
    if file is None:
        file = study.workdir / "export" / FILES[format]
        if int8 and format not in ALWAYS_INT8:
            first, _, rest = file.name.partition(".")
            file = file.with_name(f"{first}-int8.{rest}")
    return Exported(export(source, format, int8, file))
