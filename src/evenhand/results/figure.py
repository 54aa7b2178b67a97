"""The figures of an audit's section of the page, each as one SVG image."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

from evenhand.errors import BadInput
from evenhand.files import write_atomically
from evenhand.redact import redact
from evenhand.report.build import part_of
from evenhand.report.page import all_blocks
from evenhand.report.svg import FigureBlock, drawable, figure_svg
from evenhand.runs.check import readable
from evenhand.runs.load import LoadedRun


@dataclass(frozen=True, slots=True, repr=False)
class Figure:
    """A figure as SVG that holds its own colours and fonts.

    Parameters
    ----------
    id, title, caption : str
        As on the page.
    svg : str
        The image, a whole SVG document.
    """

    id: str
    title: str
    caption: str
    svg: str

    def __repr__(self) -> str:
        return f"Figure({self.id!r}, {self.title!r}); save it with save('figure.svg')"

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_html_(self) -> str:
        return f'<figure style="margin:0">{self.svg}<figcaption>{escape(self.caption)}</figcaption></figure>'

    def save(self, path: str | Path) -> Path:
        """Write the figure as an SVG file and return its path. Raises BadInput for a name that does not end in .svg."""
        target = Path(path)
        if target.suffix.lower() != ".svg":
            raise BadInput("Figures are written as SVG.", file=target, do=f"Write to {target.with_suffix('.svg')}.")
        write_atomically(target, self.svg.encode("utf-8"))
        return target


def figure_blocks(loaded: LoadedRun) -> dict[str, FigureBlock]:
    """The figures of an audit's section of the page by their ids, in the order of the page."""
    loaded.result  # noqa: B018 - raises for a run without findings
    with readable(loaded.run.folder, loaded.manifest):
        blocks = part_of(loaded).section.blocks
    return {block.id: block for block in map(drawable, all_blocks(blocks)) if block is not None}


def figure_of(loaded: LoadedRun, wanted: str | None = None) -> Figure:
    """A figure of an audit by its id on the page, by default the first. Raises BadInput, naming what there is."""
    figures = figure_blocks(loaded)
    if not figures:
        raise BadInput(f"The section of the {loaded.audit} audit has no figure.", do="Read its findings or its rows.")
    block = next(iter(figures.values())) if wanted is None else figures.get(wanted)
    if block is None:
        raise BadInput(f"The {loaded.audit} audit has no figure '{wanted}'.", do=f"There are: {', '.join(figures)}.")
    return Figure(block.id, redact(block.title), redact(block.caption), redact(figure_svg(block)))
