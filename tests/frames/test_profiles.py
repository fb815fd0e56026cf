"""Profiles: what they extend, how they are chosen, and how wrong ones are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightcrew.errors import Refused
from nightcrew.frames.profiles import BUILT_IN, Rules, choose_profile, load_profiles
from tests.frames.made import frame, hdu, own_profile, profiles


def test_built_in_profiles() -> None:
    wanted = {"generic", "maxim_apogee", "sbig_stl1001", "microobservatory", "zwo_asi", "panoptes", "saao", "nightcrew_simulated"}
    assert wanted <= set(profiles())
    assert all(profile.description and profile.name == name for name, profile in profiles().items())
    assert {path.stem for path in BUILT_IN.glob("*.toml")} == set(profiles())


@pytest.mark.parametrize(
    ("cards", "name"),
    [
        ({"INSTRUME": "Apogee USB/Net", "SWCREATE": "MaxIm DL Version 5.21"}, "maxim_apogee"),
        ({"INSTRUME": "Apogee USB/Net"}, "generic"),
        ({"INSTRUME": "SBIG STL-1001 3 CCD Camera"}, "sbig_stl1001"),
        ({"CREATOR": "MicroObservatory2014-05-23", "INSTRUME": "Main"}, "microobservatory"),
        ({"INSTRUME": "zwo asi178mc"}, "zwo_asi"),
        ({"CAMSN": "012", "MEASRGGB": "1 2 3 4"}, "panoptes"),
        ({"OBSERVAT": "SAAO", "INSTRUME": "STE3 CCD"}, "saao"),
        ({"INSTRUME": "NCSIM"}, "nightcrew_simulated"),
        ({"INSTRUME": 5}, "generic"),
        ({}, "generic"),
    ],
)
def test_choice_by_the_header(cards: dict[str, str | int], name: str) -> None:
    assert choose_profile((hdu(cards),), profiles(), None).name == name
    assert choose_profile((hdu({}, shape=()), hdu(cards, index=1)), profiles(), "auto").name == name


def test_more_conditions_win(tmp_path: Path) -> None:
    own_profile(tmp_path, '[[match]]\nINSTRUME = "NCSIM*"\nSERIALNO = "7"\n', "a_seventh")
    known = load_profiles(tmp_path)
    assert choose_profile((hdu({"INSTRUME": "NCSIM", "SERIALNO": 7}),), known, None).name == "a_seventh"
    assert choose_profile((hdu({"INSTRUME": "NCSIM", "SERIALNO": 8}),), known, None).name == "nightcrew_simulated"


def test_wanted_profile() -> None:
    assert choose_profile((hdu({"INSTRUME": "NCSIM"}),), profiles(), "saao").name == "saao"
    with pytest.raises(Refused, match="no instrument profile 'sbig_stl101'; did you mean 'sbig_stl1001'"):
        choose_profile((hdu(),), profiles(), "sbig_stl101")


def test_rules_have_the_defaults_of_the_design() -> None:
    rules = profiles()["generic"].rules
    assert rules == Rules()
    assert (rules.bias_age_days, rules.flat_age_days) == ((30, 90, 365), (7, 30, 180))
    assert (rules.dark_missing, rules.bias_missing, rules.flat_missing) == ("scale", "skip", "skip")


def test_own_profile_says_only_what_differs(tmp_path: Path) -> None:
    profile = own_profile(tmp_path, '[keywords]\nfilter = ["WHEEL"]\n[rules]\nminimum_dark = 1\ndark = "linear"\n')
    assert [entry.keyword for entry in profile.keywords.filter] == ["WHEEL"]
    assert profile.keywords.exposure == profiles()["generic"].keywords.exposure
    assert (profile.rules.minimum_dark, profile.rules.dark, profile.rules.minimum_bias) == (1, "linear", 3)
    assert frame(FILTER=None, WHEEL="Ha", profile=profile).filter == "Ha"


def test_own_profile_extends_a_built_in_one(tmp_path: Path) -> None:
    profile = own_profile(tmp_path, 'extends = "saao"\n[detector]\nread_noise_e = 6.0\n')
    assert profile.detector.gain_means == "e_per_adu"
    assert profile.match == ()  # never inherited
    mended = own_profile(tmp_path, "[detector]\nsaturation_adu = 4000\n", "microobservatory")
    assert mended.detector.saturation_adu == 4000
    assert mended.values.default_kind == "light"


def test_own_generic_profile_is_under_all_others(tmp_path: Path) -> None:
    own_profile(tmp_path, "[rules]\nminimum_flat = 7\n", "generic")
    assert {profile.rules.minimum_flat for profile in load_profiles(tmp_path).values()} == {7}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[keywords]\nexposur = ["EXPTIME"]\n', r"mine\.toml:2: keywords\.exposur: there is no such key; did you mean 'exposure'"),
        ("[rule]\nminimum_bias = 3\n", r"mine\.toml:1: rule: there is no such key; did you mean 'rules'"),
        (
            '[[filename.kind]]\npattern = "x"\nkind = "dark"\nuses = "note"\n',
            r"mine\.toml:4: filename\.kind\.0\.uses: .*did you mean 'use'",
        ),
        ('[values.kind]\n"dunkel" = "drak"\n', r"values\.kind\.dunkel: Input should be 'bias', 'dark'"),
        ('[[filename.kind]]\npattern = "("\nkind = "dark"\n', r"'\(' is no regular expression"),
        ('[[filename.exposure]]\npattern = "exp"\n', "needs a group"),
        ("[detector]\ngain_e_per_adu = -1\n", r"mine\.toml:2: detector\.gain_e_per_adu: .*greater than 0 \(given: -1\)"),
        ("[detector]\ngain_e_per_adu = nan\n", r"detector\.gain_e_per_adu"),
        ('[clock]\nzone = "CET"\n', r"clock\.zone"),
        ("[rules\n", "this is not TOML"),
        ('extends = "gnric"\n', r"there is no profile 'gnric'; did you mean 'generic'"),
        ('extends = "mine"\n', "circle"),
        ("[rules]\nbias_age_days = [30, 90]\n", r"rules\.bias_age_days"),
        ("[rules]\nflat_age_days = [30, 7, 180]\n", r"mine\.toml:1: rules: flat_age_days: the ages for grades A, B and C must not fall"),
        ("[rules]\ntemperature_a_c = 6\n", r"rules: temperature_a_c is above temperature_b_c"),
        ('[rules]\nbias_missing = "scale"\n', r"mine\.toml:2: rules\.bias_missing: Input should be 'skip', 'block', 'wait' or 'model'"),
        ('[rules]\nflat_missing = "model"\n', r"rules\.flat_missing: Input should be 'skip', 'block' or 'wait'"),
        ('[rules]\ndark_missing = "model"\n', r'rules: dark_missing = "model": laboratory must name the set'),
    ],
)
def test_wrong_profiles_are_refused_with_file_key_and_nearest(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        own_profile(tmp_path, text)


def test_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "bin.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Refused, match="not UTF-8"):
        load_profiles(tmp_path)


def test_absent_folder_means_no_own_profiles(tmp_path: Path) -> None:
    assert load_profiles(tmp_path / "absent") == profiles()
