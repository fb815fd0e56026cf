from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from nightcrew.errors import Refused, RejectedInput
from nightcrew.frames.normalise import normalise
from nightcrew.frames.profiles import choose_profile, load_profiles
from nightcrew.frames.site import night_of
from nightcrew.io.headers import read_hdus
from nightcrew.simulate.night import NightModel, make_night, plan_truth, schedule, simulate_night
from nightcrew.simulate.plan import NightPlan, bench_night, preset_plan, short_night
from nightcrew.simulate.sky import PsfShape
from nightcrew.simulate.truth import load_truth
from tests.simulate.nights import tiny_night, tiny_plan
from tests.simulate.test_sky import exact_aperture


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*.*"))}


def test_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    raw, truth = tiny_night()
    again = simulate_night(tmp_path / "again", tiny_plan(), seed=7)
    assert again == truth
    assert digests(tmp_path / "again") == digests(raw.parent)
    simulate_night(tmp_path / "other", tiny_plan(), seed=8)
    other = digests(tmp_path / "other")
    assert all(other[name] != digest for name, digest in digests(raw).items() if name != "observing-notes.fits")


def test_truth_survives_its_file() -> None:
    raw, truth = tiny_night()
    assert load_truth(raw.parent) == truth


def test_foreign_truth_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "truth.json").write_text('{"format": 99}')
    with pytest.raises(RejectedInput, match="format 1"):
        load_truth(tmp_path)


def test_every_header_passes_astropys_verification() -> None:
    from astropy.io import fits

    raw, truth = tiny_night()
    for frame in truth.frames:
        with fits.open(raw / frame.name, memmap=False) as hdus:
            hdus.verify("exception")
            assert hdus[0].data.shape == (160, 192)


def test_our_own_reader_finds_the_planted_header_values_and_one_night() -> None:
    raw, truth = tiny_night()
    profiles = load_profiles(None)
    for frame in truth.frames:
        hdus = read_hdus(raw / frame.name)
        header = normalise(hdus, frame.name, choose_profile(hdus, profiles, None), truth.plan.site, None)
        assert (header.kind, header.filter, header.exposure_s, header.time_utc) == (
            frame.kind,
            frame.filter,
            frame.exposure_s,
            frame.time_utc,
        )
        assert (header.temperature_c, header.target, header.night) == (frame.temperature_c, frame.target, "2026-05-16")
        assert (header.gain_e_per_adu, header.read_noise_e, header.gain_setting) == (1.3, 7.0, "100")
        assert header.notes == ()


@pytest.mark.parametrize("plan", [short_night(), bench_night(), tiny_plan()])
def test_one_local_night_over_two_utc_dates_without_overlapping_exposures(plan: NightPlan) -> None:
    frames = schedule(plan, 1)
    assert {night_of(frame.time_utc, plan.site) for frame in frames} == {plan.night}
    assert len({frame.time_utc[:10] for frame in frames}) == 2
    starts = [datetime.fromisoformat(frame.time_utc) for frame in frames]
    for before, frame, after in zip(starts, frames, starts[1:], strict=False):
        assert before + timedelta(seconds=frame.exposure_s) <= after
    assert len({frame.name for frame in frames}) == len(frames)


def test_presets_hold_what_is_asked_of_them() -> None:
    counts = plan_truth(NightModel(replace(short_night(), troubles=()), 1)).counts()
    assert {key: counts[key] for key in ("bias", "dark", "flat", "light")} == {"bias": 5, "dark": 15, "flat": 15, "light": 27}
    bench = bench_night()
    kinds = [frame.kind for frame in schedule(replace(bench, camera=replace(bench.camera, cosmic_rays_per_mpx_s=0.0)), 1)]
    assert [kinds.count(kind) for kind in ("bias", "dark", "flat", "light")] == [20, 20, 60, 60]
    assert (bench.camera.nx, bench.camera.ny, len(bench.filters)) == (2048, 2048, 3)


@pytest.mark.parametrize("plan", [short_night(), bench_night(), tiny_plan()])
def test_every_light_and_flat_has_darks_of_its_exposure(plan: NightPlan) -> None:
    darks = {series.exposure_s for series in plan.darks}
    assert {target.exposure_s for target in plan.targets} | {plan.flat_exposure_s} <= darks


@pytest.mark.parametrize("shape", ["gaussian", "moffat"])
def test_flux_in_a_big_aperture_is_the_planted_one(shape: PsfShape) -> None:
    camera = replace(tiny_plan().camera, hot_fraction=0.0, cold_fraction=0.0, cold_columns=0, cosmic_rays_per_mpx_s=0.0)
    model = NightModel(replace(tiny_plan(), camera=camera, psf_shape=shape), 7)
    truth = plan_truth(model)
    pulls = []
    for frame in truth.select("light"):
        raw = model.record(truth, frame).astype(np.float64)
        charge = (raw - model.detector.bias_adu) * truth.gain_e_per_adu - model.detector.dark_rate(frame.temperature_c) * frame.exposure_s
        net = charge / model.flat(frame.filter) - frame.sky_e_per_s * frame.exposure_s
        for x, y, flux in zip(*truth.star_positions(frame), truth.star_flux_e_per_s(frame), strict=True):
            electrons, radius = flux * frame.exposure_s, 10.0
            if not (12 < x < 179 and 12 < y < 147) or raw[round(y) - 3 : round(y) + 4, round(x) - 3 : round(x) + 4].max() > 60_000:
                continue
            noise = math.sqrt(electrons + math.pi * radius**2 * (frame.sky_e_per_s * frame.exposure_s + 50))
            expected = electrons * truth.plan.psf(frame.fwhm_px).enclosed(radius)
            pulls.append((exact_aperture(net, x, y, radius) - expected) / noise)
    assert len(pulls) > 40
    assert np.abs(pulls).max() < 4.5
    assert np.mean(pulls) == pytest.approx(0, abs=4 / math.sqrt(len(pulls)))
    assert np.std(pulls) == pytest.approx(1, abs=0.3)


def test_dithers_move_the_stars_and_the_header_knows() -> None:
    from astropy.io import fits
    from astropy.wcs import WCS

    raw, truth = tiny_night()
    seen = set()
    for frame in truth.select("light"):
        x, y = truth.star_positions(frame)
        seen.add((round(float(x[0]), 2), round(float(y[0]), 2)))
        field = truth.field(frame.target)
        header = fits.getheader(raw / frame.name)
        del header["DATE-OBS"]  # astropy would warn that it derives MJD-OBS from it
        px = WCS(header).all_world2pix(np.column_stack([field.ra_deg, field.dec_deg]), 0)
        assert np.allclose(px, np.column_stack([x, y]), atol=2e-3)
    assert len(seen) == len(truth.select("light"))


def test_magnitudes_follow_zero_point_and_extinction() -> None:
    _, truth = tiny_night()
    plan = replace(truth.plan, transparency_rms=0.0)
    frame = next(frame for frame in schedule(plan, 1) if frame.kind == "light")
    one, field = plan.filter(frame.filter), truth.field(frame.target)
    expected = np.array(field.magnitude[one.name]) - one.zero_point_mag + one.extinction_mag * frame.airmass
    assert np.allclose(truth.instrumental_magnitudes(frame), expected, atol=1e-4)
    aperture = truth.instrumental_magnitudes(frame, 2.0)
    assert np.all(aperture > truth.instrumental_magnitudes(frame))


def test_other_nights_see_the_same_stars_in_other_noise(tmp_path: Path) -> None:
    raw, truth = tiny_night()
    plan = replace(tiny_plan(), night="2026-05-20")
    other = simulate_night(tmp_path, plan, seed=7)
    assert other.fields == truth.fields
    assert other.hot == truth.hot
    name = truth.select("bias")[0].name
    assert (tmp_path / "raw" / name).read_bytes() != (raw / name).read_bytes()


def test_a_night_needs_a_folder_of_its_own_and_targets_that_are_up(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "mine.fit").touch()
    with pytest.raises(Refused, match="not empty"):
        simulate_night(tmp_path, tiny_plan(), 1)
    with pytest.raises(Refused, match="degrees"):
        make_night(tmp_path / "winter", "short", 1, night="2026-11-16")
    with pytest.raises(Refused, match="bench, short"):
        preset_plan("long")


def test_progress_counts_every_frame(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    truth = simulate_night(tmp_path, tiny_plan(), 1, lambda done, total, name: seen.append((done, total)))
    assert seen == [(number, len(truth.frames)) for number in range(1, len(truth.frames) + 1)]


def test_overscan_stands_in_the_header_where_it_is_in_the_frame(tmp_path: Path) -> None:
    camera = replace(tiny_plan().camera, overscan_columns=16, bias_drift_adu=3.0)
    truth = simulate_night(tmp_path, replace(tiny_plan(), camera=camera, troubles=()), 1)
    hdus = read_hdus(tmp_path / "raw" / truth.frames[0].name)
    header = normalise(hdus, truth.frames[0].name, choose_profile(hdus, load_profiles(None), None), truth.plan.site, None)
    assert (header.nx, header.trim, header.overscan) == (208, (0, 192, 0, 160), (192, 208, 0, 160))
