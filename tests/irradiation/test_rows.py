"""Acceptance rows of the older suite that need frames: plain numbers in, plain numbers out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from typer.testing import CliRunner

from deployments import cli
from nightcrew.errors import Refused
from nightcrew.irradiation.frames import Frame, FrameDose
from nightcrew.irradiation.grouping import clusters, make_groups
from nightcrew.irradiation.masters import read_maps
from nightcrew.irradiation.response import frame_rates
from nightcrew.irradiation.stacks import frame_numbers, stored_step
from reports.campaign_page import sequence_folder
from tasks.campaign import CampaignPart, CampaignRequest, run_campaign

SHAPE = (12, 20)


def put(
    folder: Path,
    name: str,
    value: float,
    *,
    kind: str,
    exposure: float = 0.0,
    temperature: float = 10.0,
    time: float | None = None,
    number: int = 0,
    hole: tuple[int, int] | None = None,
) -> None:
    """A FITS frame whose pixels are ``value`` but for one, so that it is no empty frame; ``hole``: a pixel without a value."""
    image = np.full(SHAPE, value, np.float32)
    image[0, 0] += 1e-3
    if hole is not None:
        image[hole] = np.nan
    hdu = fits.PrimaryHDU(image)
    hdu.header.update({"CALTYPE": kind, "EXPTIME": exposure, "TEMP": temperature, "FRAMENUM": number})
    if time is not None:
        hdu.header["HIERARCH TIMESTAMP"] = time
    (folder / "fits").mkdir(parents=True, exist_ok=True)
    hdu.writeto(folder / "fits" / f"{name}.fits")


def run(root: Path, **options: Any) -> CampaignPart:
    (part,) = run_campaign(CampaignRequest(root=root / "in", out=root / "out", **options)).parts
    return part


def test_a_dark_master_has_lost_its_bias(tmp_path: Path) -> None:
    # row 17: bias 2, 2 and darks 7, 7 at 10 C and 1 s
    for n in range(2):
        put(tmp_path / "in/Preirradiation/Bias", f"Bias_f{n}", 2, kind="BIAS", number=n)
        put(tmp_path / "in/Preirradiation/Darks", f"Dark_f{n}", 7, kind="DARK", exposure=1.0, number=n)
    part = run(tmp_path, plan="radiation")
    assert part.analysis is not None
    dark = next(one for one in part.analysis.masters if one.group.kind == "DARK")
    assert dark.mean == pytest.approx(5.0)
    assert read_maps(dark.path).mean == pytest.approx(5.0)
    rows = (tmp_path / "out/pre/stats_dark.csv").read_text().splitlines()
    assert [float(row.split(",")[4]) for row in rows[1:]] == pytest.approx([5.0, 5.0])
    assert fits.getheader(dark.path)["BIASSUB"] is True


def test_statistics_of_two_biases(tmp_path: Path) -> None:
    # rows 21 and 22: values 1 and 3 at 10 and 12 C; ignoring the temperature they are one group
    for n, (value, temperature) in enumerate(((1.0, 10.0), (3.0, 12.0))):
        put(tmp_path / "in/Preirradiation/Bias", f"Bias_f{n}", value, kind="BIAS", number=n, temperature=temperature)
    part = run(tmp_path, plan="irradiation", ignore_temperature=True)
    assert part.analysis is not None
    (master,) = part.analysis.masters
    header = fits.getheader(master.path)
    assert (header["NSOURCE"], header["T_MEAN"]) == (2, 11.0)
    assert header["MEAN"] == pytest.approx(2.0, abs=1e-3)
    assert master.stack.raw_std == pytest.approx(1.0, abs=1e-3)
    assert master.stack.raw_mean == pytest.approx(2.0, abs=1e-3)


@pytest.mark.parametrize(("grouped", "masters"), [(True, 1), (False, 2)])
def test_one_master_when_the_log_has_one_dose(tmp_path: Path, grouped: bool, masters: int) -> None:
    # row 18: darks at 10 and 20 C, constant log, --group-by-dose
    for n, temperature in enumerate((10.0, 10.0, 20.0, 20.0)):
        put(tmp_path / "in/Irradiation/5kRads/Darks", f"Dark_f{n}", 100 + n, kind="DARK", exposure=1.0, number=n, temperature=temperature)
    (tmp_path / "in/radiationLog.csv").write_text("FrameNum,Dose\n" + "".join(f"{n},5\n" for n in range(4)))
    part = run(tmp_path, plan="radiation", group_by_dose=grouped)
    assert part.analysis is not None
    assert len(part.analysis.masters) == masters


def test_two_doses_are_two_groups(tmp_path: Path) -> None:
    # row 20: frames 0 and 1 with doses 0.5 and 1.0, 10 s apart; rows 31 and 32: the time stands in a HIERARCH card
    for n in range(2):
        put(tmp_path / "in/Irradiation/Bias", f"Bias_f{n}", 100 + n, kind="BIAS", number=n, time=10.0 * n)
    (tmp_path / "in/radiationLog.csv").write_text("FrameNum,Dose\n0,0.5\n1,1.0\n")
    part = run(tmp_path, plan="radiation")
    assert part.analysis is not None
    assert [one.group.dose_krad for one in part.analysis.masters] == [0.5, 1.0]
    frames = sorted(part.campaign.frames, key=lambda frame: frame.number or 0)
    assert frame_rates([0.5, 1.0], [frame.time_s or 0.0 for frame in frames]) == [None, 0.05]


def test_temperatures_that_jitter_are_one() -> None:
    assert clusters([20.05, 19.96, 30.0, 20.0], 0.5) == [0, 0, 1, 0]
    frames = [
        Frame(path=Path(str(n)), relative=str(n), campaign="", folder="", kind="BIAS", stage="pre", number=n, temperature_c=t)
        for n, t in enumerate((20.05, 19.96, 30.0, 29.97))
    ]
    dose = FrameDose(dose_krad=0.0, error_krad=0.0, rate_krad_per_s=0.0, source="stage", stage="pre")
    groups, left_out = make_groups(frames, {frame.relative: dose for frame in frames})
    assert left_out == {}
    assert [(len(group.frames), round(group.temperature_c, 3)) for group in groups] == [(2, 20.005), (2, 29.985)]


def test_numbers_of_a_frame_are_exact(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    image = (rng.integers(100, 300, (33, 47)) * 16).astype(np.uint16)
    fits.PrimaryHDU(image).writeto(tmp_path / "a.fits")
    found, shape = frame_numbers(tmp_path / "a.fits")
    assert shape == (33, 47)
    assert (found.mean, found.std) == pytest.approx((image.mean(), image.std()))
    assert (found.p16, found.median, found.p84) == pytest.approx(np.percentile(image, (16, 50, 84)))
    assert (found.lowest, found.highest) == (image.min(), image.max())
    assert stored_step([tmp_path / "a.fits"]) == 16


def test_pixels_without_a_value_are_left_out(tmp_path: Path) -> None:
    for n in range(3):
        hole = (5, 5) if n == 1 else None
        put(tmp_path / "in/Preirradiation/Bias", f"Bias_f{n}", 2 + n, kind="BIAS", number=n, hole=hole)
    part = run(tmp_path, plan="radiation")
    assert part.analysis is not None
    (master,) = part.analysis.masters
    assert master.mean == pytest.approx(3.0, abs=1e-3)
    assert np.argwhere(~np.isfinite(read_maps(master.path).mean)).tolist() == [[5, 5]]


def test_the_command(tmp_path: Path) -> None:
    for n in range(2):
        put(tmp_path / "in/Preirradiation/Bias", f"Bias_f{n}", 2 + n, kind="BIAS", number=n)
    words = [
        "campaign",
        str(tmp_path / "in"),
        "--out",
        str(tmp_path / "out"),
        "--plan",
        "irradiation",
        "--verbose",
        "--stages",
        "pre",
        "post",
    ]
    done = CliRunner().invoke(cli.build("campaign"), words)
    assert done.exit_code == 0, done.output
    assert "2 frames in 1 master" in done.output
    assert (tmp_path / "out/report.html").is_file()
    for wrong in (["--plan", "all"], ["--stages", "while"], ["--gain", "-1"], ["more"]):
        done = CliRunner().invoke(cli.build("campaign"), [*words[:4], *wrong])
        assert isinstance(done.exception, Refused), wrong


def test_a_frame_of_another_size_is_left_out_by_name(tmp_path: Path) -> None:
    for n in range(3):
        put(tmp_path / "in/Preirradiation/Bias", f"Bias_f{n}", 2 + n, kind="BIAS", number=n)
    path = tmp_path / "in/Preirradiation/Bias/fits/Bias_f9.fits"
    image = np.full((12, 21), 3.0, np.float32)
    image[0, 0] = 4
    fits.PrimaryHDU(image, fits.Header({"CALTYPE": "BIAS", "TEMP": 10.0, "EXPTIME": 0.0, "FRAMENUM": 9})).writeto(path)
    part = run(tmp_path, plan="irradiation")
    assert part.campaign.left_out == {"Preirradiation/Bias/Bias_f9.fits": "has 21 x 12 pixels, the campaign's other frames 20 x 12"}
    assert (tmp_path / "out/left_out.csv").read_text().count("21 x 12") == 1


def test_sequences_of_one_name_do_not_meet() -> None:
    assert sequence_folder("Operation/5kRads", "") == "5kRads"
    assert sequence_folder("A/Operation/first/5kRads", "A") == "first/5kRads"
    assert sequence_folder("5kRads", "") == "5kRads"
    assert ".." not in sequence_folder("Operation/../x", "").split("/")
