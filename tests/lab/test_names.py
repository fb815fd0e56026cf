"""Names of files and folders."""

from __future__ import annotations

import pytest

from nightcrew.lab import names
from nightcrew.lab.names import NameTokens, tokens_of


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("BiasT0_exp0.012sAt0f1.raw", NameTokens(1, 0.012, 0.0)),
        ("exp_1.2e-05s_frame0.raw", NameTokens(0, 1.2e-5, None)),
        ("DarkT-10.5_exp10sAt0f2.raw", NameTokens(2, 10.0, -10.5)),
        ("img0007.raw", NameTokens(None, None, None)),
        ("FLAT3.raw", NameTokens(None, None, None)),
        ("off3_frame7.raw", NameTokens(7, None, None)),
        ("FlatT20_exp0.4sAt0f12.fits", NameTokens(12, 0.4, 20.0)),
        ("f10.raw", NameTokens(10, None, None)),
    ],
)
def test_tokens_of_file_names(name: str, expected: NameTokens) -> None:
    assert tokens_of(name) == expected


def test_folders_say_temperature_and_exposure_and_the_deepest_wins() -> None:
    parts = ("20Frames", "T20", "T0", "0.4s")
    assert names.folder_temperature_c(parts) == 0.0
    assert names.folder_exposure_s(parts) == 0.4
    assert names.folder_temperature_c(("attempt3", "test1")) is None
    assert names.folder_exposure_s(("set2s",)) is None


def test_dose_of_the_deepest_folder() -> None:
    assert names.folder_dose_krad(("a", "10kRads")) == 10.0
    assert names.folder_dose_krad(("no_dose",)) is None
    assert names.folder_dose_krad(("20kRads_campaign", "5kRads")) == 5.0
    assert names.folder_dose_krad(("2.5kR",)) == 2.5


@pytest.mark.parametrize(
    ("parts", "stage", "vacuum"),
    [
        (("x_duringradiation_novacuum", "PreIrradiation", "Bias"), "pre", "air"),
        (("x_duringradiation_novacuum", "PostIrradiation"), "post", "air"),
        (("x_duringradiation_novacuum", "DuringIrradiation"), "radiating", "air"),
        (("Irradiation", "5kRads"), "radiating", ""),
        (("pressure", "expresso"), "", ""),
        (("repair",), "", ""),
        (("set_vac",), "", "vacuum"),
    ],
)
def test_stage_and_vacuum_are_whole_words(parts: tuple[str, ...], stage: str, vacuum: str) -> None:
    assert names.stage_of(parts) == stage
    assert names.vacuum_of(parts) == vacuum


@pytest.mark.parametrize(
    ("parts", "kind"),
    [(("TestSection1", "T0"), "BIAS"), (("TestSection2", "20Frames"), "DARK"), (("A", "Flats", "x"), "FLAT"), (("unbiased",), "")],
)
def test_kind_by_folder(parts: tuple[str, ...], kind: str) -> None:
    assert names.kind_of(parts) == kind


def test_kind_by_file_name() -> None:
    assert names.kind_of_name("BiasT0_exp0.012sAt0f1.raw") == "BIAS"
    assert names.kind_of_name("DarkT-10.5_exp10sAt0f2.raw") == "DARK"
    assert names.kind_of_name("frame0.raw") == ""
