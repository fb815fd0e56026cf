"""A kind of sets for tests: every ``*.num`` file is converted by itself, the sum of all is taken when the set is quiet.

``*.log`` are set aside, ``*.bad`` rejected, a file that holds ``broken`` fails in its unit, ``crash`` is a fault of the program.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from nightcrew.errors import RejectedInput
from nightcrew.ledger.rows import Measurement
from nightcrew.planning.sets import SetBuilder
from nightcrew.recipes.catalogue import RECIPES, Recipe
from reports.analysis import AnalysisFigure, AnalysisPage, AnalysisSection, AnalysisTable
from reports.summary import Summary, determined
from tasks import kinds
from tasks.kinds import Kind, MakeSet
from tasks.set_units import SetResult, SetUnit

HERE = __name__
CONVERT = Recipe("toy_convert", 1, "convert", "toy number", "toy")
SUM = Recipe("toy_sum", 1, "models", "toy sum", "toy")


def plan(builder: SetBuilder) -> None:
    """See the module."""
    files = builder.snapshot.files
    builder.set_aside([f for f in files if f.kind == "log"], "a log")
    builder.reject([f for f in files if f.kind == "bad"], "bad by name")
    scale = 1.0
    for file in (f for f in files if f.relative == "scale.toml"):
        scale = float(builder.text(file).partition("=")[2])
        builder.wait([file], "is used once there are numbers")
    numbers = [f for f in files if f.kind == "num"]
    made = [builder.add("toy_convert", f.relative, files=[f], parameters={"scale": scale}) for f in numbers]
    good = [p for p in made if p.status != "failed"]
    if good and builder.quiet():
        extra = [f for f in files if f.relative == "scale.toml"]
        builder.add("toy_sum", "all", files=extra, products=[p.fingerprint for p in good], facts={"failed": len(made) - len(good)})


def convert(unit: SetUnit) -> SetResult:
    """One number, scaled."""
    text = unit.path(unit.files[0]).read_text(encoding="utf-8").strip()
    if text == "broken":
        raise RejectedInput("it holds no number")
    if text == "crash":
        raise KeyError("crash")
    (unit.out / "deep").mkdir()
    (unit.out / "deep" / "value.txt").write_text(repr(float(text) * unit.parameters["scale"]), encoding="utf-8")
    return SetResult(
        metrics={"value": float(text)}, grade="B" if float(text) < 0 else "A", grade_reasons=("negative",) if float(text) < 0 else ()
    )


def total(unit: SetUnit) -> SetResult:
    """The sum, with its page."""
    values = {
        key: float((folder / "deep" / "value.txt").read_text(encoding="utf-8")) for key, folder in unit.inputs_of("toy_convert").items()
    }
    value = sum(values.values())
    (unit.out / "sum.csv").write_text("sum\n" + f"{value}\n", encoding="utf-8")
    return SetResult(
        metrics={"sum": value},
        measurements=(Measurement(quantity="toy_sum", value=value, error=None, unit="count"),),
        page=_page(unit.planned.kind, unit.planned.night, value, values),
    )


def _page(kind: str, name: str, value: float, values: Mapping[str, float]) -> AnalysisPage:
    return AnalysisPage(
        kind=kind,
        title=f"{kind.capitalize()} {name}",
        verdict=f"The sum is {value:g}",
        status="good" if value >= 0 else "attention",
        needs_person=() if value >= 0 else ("The sum is negative.",),
        summary=Summary(recipe="toy_sum", inputs=(), grade="A", quantities=(determined("total", value, "no number", unit="ADU"),)),
        key_quantities=("total",),
        sections=(
            AnalysisSection(
                title="Values",
                tables=(AnalysisTable(title="Numbers", columns=("name", "value / ADU"), rows=tuple(values.items())),),
                figures=(AnalysisFigure(name="curve", title="Curve", alt="a curve", png=_png(), numbers="sum.csv"),),
            ),
        ),
        files=(("sum.csv", "the sum"),),
        commands=(f"nightcrew rerun {kind}/{name}",),
    )


def _png() -> bytes:
    from PIL import Image

    image = Image.new("L", (40, 20), 0)
    image.paste(255, (0, 0, 20, 20))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


units: dict[str, MakeSet] = {"toy_convert": convert, "toy_sum": total}


def register(kind: str = "sensor") -> None:
    """Make a kind the toy, in this process."""
    RECIPES.update({recipe.name: recipe for recipe in (CONVERT, SUM)})
    kinds.KINDS[kind] = Kind(kind, "toy", HERE, HERE)


@contextmanager
def toy_kind(kind: str = "sensor") -> Iterator[None]:
    """The kind is the toy meanwhile."""
    known = kinds.KINDS[kind]
    register(kind)
    try:
        yield
    finally:
        kinds.KINDS[kind] = known
        for recipe in (CONVERT, SUM):
            del RECIPES[recipe.name]
