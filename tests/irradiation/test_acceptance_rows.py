"""Rows 18 to 36 of the acceptance table of the older suite, each with the tests that hold its numbers; and rows that need files."""

from __future__ import annotations

import ast
import importlib
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from nightcrew.io.images import read_image
from nightcrew.irradiation.analysis import analyse
from nightcrew.irradiation.discover import find_campaigns
from nightcrew.irradiation.grouping import make_groups
from nightcrew.irradiation.masters import make_masters, read_maps
from nightcrew.irradiation.results import Analysis
from nightcrew.irradiation.star_noise import Star
from tasks import campaign_dose, campaign_precision
from tasks.campaign_dose import write_dose
from tasks.campaign_files import Tree
from tasks.campaign_precision import write_precision
from tests.irradiation.test_manifest import columns

ROWS: dict[int, tuple[str, ...]] = {
    18: ("test_rows::test_one_master_when_the_log_has_one_dose",),
    19: ("test_dose::test_deepest_dose_wins",),
    20: ("test_rows::test_two_doses_are_two_groups",),
    21: ("test_rows::test_statistics_of_two_biases",),
    22: ("test_acceptance_rows::test_row_22_pixels_of_two_frames", "test_rows::test_statistics_of_two_biases"),
    23: ("test_precision::test_precision_worsens_with_noise_and_is_the_mean_over_pairs",),
    24: ("test_acceptance_rows::test_row_24_single_frames", "test_precision::test_single_frames_of_1000_and_10_give_one_row"),
    25: ("test_response::test_three_fits_for_bias_and_two_exposures", "test_acceptance_rows::test_rows_25_and_28_slopes"),
    26: ("test_acceptance_rows::test_rows_26_and_29_shifts", "test_response::test_shifts_are_irradiated_minus_reference"),
    27: ("test_precision::test_dynamic_range_of_the_acceptance_case",),
    28: ("test_response::test_base_level_trends_of_bias_and_dark", "test_acceptance_rows::test_rows_25_and_28_slopes"),
    29: ("test_response::test_shifts_are_irradiated_minus_reference", "test_acceptance_rows::test_rows_26_and_29_shifts"),
    30: ("test_precision::test_relative_precision_is_zero_before_the_beam", "test_acceptance_rows::test_row_30_relative_precision"),
    31: ("test_response::test_legacy_rates_of_frames", "test_dose::test_dose_by_time_with_its_rate"),
    32: ("test_rows::test_two_doses_are_two_groups",),
    33: ("test_response::test_rate_model_of_the_check_values",),
    34: ("test_response::test_std_on_mean_lines",),
    35: ("test_operation::test_frames_in_the_order_of_their_numbers",),
    36: ("test_manifest::test_datasets_and_stages_choose", "test_runs::test_datasets_do_not_change_the_doses"),
}
FOLDERS = {"pre": "Preirradiation", "first": "Irradiation/1kRads", "last": "Irradiation/2kRads", "post": "Postirradiation"}


@cache
def functions(module: str) -> dict[str, ast.FunctionDef]:
    path = Path(str(importlib.import_module(f"tests.irradiation.{module}").__file__))
    return {node.name: node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}


def test_every_row_has_a_test_that_asserts() -> None:
    assert sorted(ROWS) == list(range(18, 37))
    for row, tests in ROWS.items():
        for module, name in (test.split("::") for test in tests):
            function = functions(module).get(name)
            assert function is not None, (row, name)
            assert any(isinstance(node, ast.Assert) for node in ast.walk(function)), (row, name)
            marks = ast.unparse(ast.List(elts=function.decorator_list, ctx=ast.Load()))
            assert not any(word in marks for word in ("skip", "xfail", "slow")), (row, name)


def put(folder: Path, kind: str, image: float | np.ndarray, *, exposure: float = 0.0, number: int = 0) -> None:
    """A FITS frame; one pixel stands out by 0.001, so that the frame is no empty one."""
    values = np.full((12, 20), image, np.float32) if isinstance(image, float | int) else image.astype(np.float32)
    values[0, 0] += 1e-3
    (folder / "fits").mkdir(parents=True, exist_ok=True)
    header = fits.Header({"CALTYPE": kind, "EXPTIME": exposure, "TEMP": 10.0, "FRAMENUM": number})
    fits.PrimaryHDU(values, header).writeto(folder / "fits" / f"{kind}_E{exposure:g}_f{number}.fits")


def analysed(root: Path) -> Analysis:
    (found,) = find_campaigns(root / "in", root / "out")
    groups, left_out = make_groups(found.frames, found.doses)
    masters, remarks = make_masters(groups, root / "out" / "masters")
    return analyse(found, masters, left_out, remarks=remarks)


@pytest.fixture(scope="module", autouse=True)
def undrawn() -> Iterator[None]:
    """Figures are written as files without a picture: ``test_manifest`` looks at the pictures, here the numbers count."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for module in (campaign_dose, campaign_precision):
            for name in [name for name in vars(module) if name.endswith("_png") and not name.startswith("_")]:
                monkeypatch.setattr(module, name, lambda *_, **__: b"png")
        yield


def test_row_22_pixels_of_two_frames(tmp_path: Path) -> None:
    # every pixel is 1 in one frame and 3 in the other; a change of the whole frame's level would be drift, not a pixel's noise
    board = np.where(np.indices((12, 20)).sum(axis=0) % 2, 1.0, 3.0)
    for number, image in enumerate((board, 4 - board)):
        put(tmp_path / "in/Preirradiation/Bias", "BIAS", image, number=number)
    (master,) = analysed(tmp_path).masters
    maps = read_maps(master.path)
    assert maps.mean == pytest.approx(np.full((12, 20), 2.0), abs=2e-3)
    assert maps.spread == pytest.approx(np.full((12, 20), 1.0), abs=2e-3)
    assert master.stack.raw_std == pytest.approx(1.0, abs=1e-3)


def test_row_24_single_frames(tmp_path: Path) -> None:
    put(tmp_path / "in/Irradiation/5kRads/Bias", "BIAS", 1000.0)
    put(tmp_path / "in/Irradiation/5kRads/Darks", "DARK", 1010.0, exposure=1.0)
    tree = Tree(tmp_path / "tree")
    write_precision(tree, analysed(tmp_path), "precision/", Star(), ())
    folder = tmp_path / "tree/precision/pixel_precision"
    table = columns(folder / "pixel_precision_stats.csv")
    assert tuple(table)[:5] == ("DOSE", "MAG_MEAN", "MAG_STD", "ADU_MEAN", "ADU_STD")
    (found,) = table["MAG_MEAN"]
    assert float(found) == pytest.approx(1.0857 / math.sqrt(32268), rel=1e-6)
    assert float(table["ADU_MEAN"][0]) == pytest.approx(math.sqrt(32268), rel=1e-6)
    maps = sorted(path.name.partition("_D")[0].rpartition("_")[0] for path in folder.glob("*.fits"))
    assert maps == ["adu_err12", "adu_err16", "mag_err"]
    curves = sorted(path.stem for path in folder.glob("*_vs_dose.png"))
    assert curves == sorted(path.stem for path in folder.glob("*_vs_dose.npz")) == ["adu_err_vs_dose", "mag_err_vs_dose"]


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows 25, 26, 28, 29: biases 1, 2, 5, 4 and darks of 1 s 20, 22, 25, 24 (of 2 s twice) before, first, last and after the beam."""
    root = tmp_path_factory.mktemp("staged")
    for (stage, folder), bias, dark in zip(FOLDERS.items(), (1, 2, 5, 4), (20, 22, 25, 24), strict=True):
        put(root / "in" / folder / "Bias", "BIAS", float(100 + bias))
        for number, exposure in ((1, 1.0), (2, 2.0)):
            put(root / "in" / folder / f"Darks/{exposure:g}s", "DARK", 100 + bias + exposure * dark, exposure=exposure, number=number)
        if stage in ("first", "last"):
            dose = 1 if stage == "first" else 2
            rows = [f"{number},{dose + 1e-6 * number}" for number in range(3)]
            (root / "in" / folder / "radiationLogDef.csv").write_text("\n".join(["FrameNum,Dose", *rows]) + "\n")
    analysis = analysed(root)
    assert analysis.left_out == {}
    tree = Tree(root / "tree")
    write_dose(tree, analysis, "precision/")
    write_precision(tree, analysis, "precision/", Star(), ())
    return root / "tree/precision/analysis"


def test_rows_26_and_29_shifts(staged: Path) -> None:
    table = columns(staged / "stage_differences.csv")
    found = dict(zip(zip(table["CALTYPE"], table["CMP"], table["EXPTIME"], strict=True), map(float, table["DIFF"]), strict=True))
    by_kind = {(kind, cmp): value for (kind, cmp, exposure), value in found.items() if exposure in ("", "0", "0.0", "1", "1.0")}
    assert by_kind == pytest.approx(
        {
            ("BIAS", "first_vs_pre"): 1,
            ("BIAS", "post_vs_last"): 1,
            ("DARK", "first_vs_pre"): 2,
            ("DARK", "post_vs_last"): 1,
        },
        abs=1e-3,
    )
    with np.load(staged / "stage_base_diff.npz") as arrays:
        assert arrays["bias_diff"] == pytest.approx([1, 1], abs=1e-3)
    assert len(list(staged.glob("bias_*_vs_*.png"))) >= 4


def test_rows_25_and_28_slopes(staged: Path) -> None:
    table = columns(staged / "dose_model.csv")
    found = {(kind, exposure): float(s) for kind, exposure, s in zip(table["CALTYPE"], table["EXPTIME"], table["SLOPE"], strict=True)}
    # doses 0, 1, 2 and 2 of the stages: least squares through them, with weights by errors that are almost alike
    for (kind, exposure), values in {("BIAS", ""): (1, 2, 5, 4), ("DARK", "1"): (20, 22, 25, 24), ("DARK", "2"): (40, 44, 50, 48)}.items():
        expected = np.polyfit([0, 1, 2, 2], values, 1)[0]
        near = [
            value for (k, e), value in found.items() if k == kind and (e == exposure or (e and exposure and float(e) == float(exposure)))
        ]
        assert near == pytest.approx([expected], rel=5e-3), (kind, exposure)
    trend = columns(staged / "base_level_trend.csv")
    assert float(trend["SLOPE"][trend["CALTYPE"].index("BIAS")]) == pytest.approx(np.polyfit([0, 1, 2, 2], (1, 2, 5, 4), 1)[0], rel=5e-3)


def test_row_30_relative_precision(staged: Path) -> None:
    with np.load(staged / "relative_precision.npz") as arrays:
        stages, diffs = arrays["stage"].tolist(), arrays["noise16_diff"]
    assert stages.count("pre") >= 1
    assert {"pre", "radiating", "post"} == set(stages)
    assert diffs[[stage == "pre" for stage in stages]] == pytest.approx(0, abs=1e-9)
    names = {path.name for path in staged.glob("relative_*_vs_dose_*.npz")}
    assert names == {f"relative_{what}_vs_dose_{bits}.npz" for what in ("noise", "mag_err") for bits in (12, 16)}
    assert (staged / "pre_vs_post_relative_precision.npz").is_file()
    assert read_image(next(iter(sorted((staged.parent / "pixel_precision").glob("mag_err_*.fits"))))).shape == (12, 20)
