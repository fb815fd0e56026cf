"""The 40 acceptance rows of the older suite: which tests hold each of them, and those rows that no other test holds.

Where a row is restated, its words here are the restated ones: differences are irradiated less reference, the kind is that of the header,
bad frames are marked in the index alone, the deepest folder wins.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from nightcrew.irradiation.response import dose_model
from nightcrew.lab.attempts import find_attempts
from nightcrew.lab.groups import group_frames
from nightcrew.lab.keywords import frame_keywords, read_notes
from nightcrew.lab.masters import make_master
from tasks.campaign_dose import _write_law
from tasks.campaign_files import Tree
from tests.irradiation.test_response import level
from tests.lab.test_masters import frame
from tests.lab.test_raw import attempt

TESTS = Path(__file__).parent.parent
LAB_ROWS, ROWS_OF_CAMPAIGNS, RESPONSE = "lab/test_rows.py", "irradiation/test_rows.py", "irradiation/test_response.py"
PRECISION, MANIFEST = "irradiation/test_precision.py", "irradiation/test_manifest.py"
RAW, CONVERT, INDEX, MASTERS = "lab/test_raw.py", "lab/test_convert.py", "lab/test_index.py", "lab/test_masters.py"

ROWS: dict[int, tuple[str, tuple[tuple[str, str], ...]]] = {
    1: (
        "the log beats the file's name; seconds",
        ((RAW, "test_log_beats_file_name"), (CONVERT, "test_log_values_become_keywords_of_a_standard_file")),
    ),
    2: (
        "gain and temperatures of a log",
        (
            (CONVERT, "test_log_values_become_keywords_of_a_standard_file"),
            ("lab/test_logs.py", "test_a_usual_log_becomes_keywords_in_seconds"),
        ),
    ),
    3: ("radiationLogCompleto.csv alone", ((LAB_ROWS, "test_the_log_of_a_whole_campaign_alone"),)),
    4: ("frame number of exp_1.2e-05s_frame0.raw", (("lab/test_names.py", "test_tokens_of_file_names"),)),
    5: ("conversion without one kind, three cases", ((CONVERT, "test_a_skipped_kind_is_left_out_everywhere"),)),
    6: ("no attempt folder, bias skipped", ((CONVERT, "test_no_attempt_folder_and_bias_skipped"),)),
    7: ("3 of 4 pixels: padded and marked, or rejected", ((CONVERT, "test_a_short_raw_is_rejected_and_with_padding_filled_and_marked"),)),
    8: (
        "attempts at any depth, each found once",
        ((RAW, "test_every_layout_is_found_exactly_once"), (RAW, "test_other_log_names_and_upper_case")),
    ),
    9: ("2 of 100 zeros is bad, 1 is not; no input changes", ((INDEX, "test_more_than_one_percent_of_zeros_is_bad"),)),
    10: ("one file a section: three kinds", ((INDEX, "test_one_file_a_section_and_two_data_sets"),)),
    11: ("a root with Bias, Darks, Flats", ((INDEX, "test_one_file_a_section_and_two_data_sets"),)),
    12: ("two data sets: 6 rows", ((INDEX, "test_one_file_a_section_and_two_data_sets"),)),
    13: (
        "stages by folder, the deepest wins",
        (
            ("lab/test_names.py", "test_stage_and_vacuum_are_whole_words"),
            (INDEX, "test_stage_and_vacuum_from_the_deepest_folder_or_as_given"),
        ),
    ),
    14: (
        "5 frames of 3 x 3: mean and scatter as numpy's",
        ((MASTERS, "test_a_master_equals_numpy"), (MASTERS, "test_statistics_equal_numpy")),
    ),
    15: (
        "temperatures and exposures that are not finite",
        ((MASTERS, "test_temperatures_and_exposures_that_are_not_finite_count_for_nothing"),),
    ),
    16: ("darks less the nearest bias: 125 and 250", ((MASTERS, "test_darks_get_the_nearest_bias"),)),
    17: (
        "dark 7 over bias 2 is 5, in the laboratory and in a campaign",
        ((MASTERS, "test_dark_of_7_over_bias_of_2_is_5"), (ROWS_OF_CAMPAIGNS, "test_a_dark_master_has_lost_its_bias")),
    ),
    18: ("one combined master, grouped by dose", ((ROWS_OF_CAMPAIGNS, "test_one_master_when_the_log_has_one_dose"),)),
    19: (
        "dose of a folder, none, the deepest",
        (("irradiation/test_dose.py", "test_deepest_dose_wins"), ("lab/test_names.py", "test_dose_of_the_deepest_folder")),
    ),
    20: ("two doses, rates none and 0.05", ((ROWS_OF_CAMPAIGNS, "test_two_doses_are_two_groups"),)),
    21: ("bias 1 and 3 at 10 and 12 C: mean 2, T_MEAN 11", ((ROWS_OF_CAMPAIGNS, "test_statistics_of_two_biases"),)),
    22: (
        "frames 1 and 3: mean 2, scatter of each pixel 1",
        ((LAB_ROWS, "test_the_scatter_of_a_pixel"), (ROWS_OF_CAMPAIGNS, "test_statistics_of_two_biases")),
    ),
    23: ("0.0060478, worse with dose", ((PRECISION, "test_precision_worsens_with_noise_and_is_the_mean_over_pairs"),)),
    24: (
        "one row, maps and curves",
        (
            (PRECISION, "test_single_frames_of_1000_and_10_give_one_row"),
            (MANIFEST, "test_maps_of_the_precision_at_every_dose"),
            (MANIFEST, "test_every_table_has_its_columns"),
        ),
    ),
    25: ("slopes 1, 2, 4", ((RESPONSE, "test_three_fits_for_bias_and_two_exposures"),)),
    26: (
        "first - pre = 1, last - post = 1; 4 pictures",
        ((RESPONSE, "test_shifts_are_irradiated_minus_reference"), (MANIFEST, "test_every_picture_is_there")),
    ),
    27: ("65521, noise sqrt(5), 100 x 15 / 65536", ((PRECISION, "test_dynamic_range_of_the_acceptance_case"),)),
    28: ("slopes 1 and 2", ((RESPONSE, "test_base_level_trends_of_bias_and_dark"),)),
    29: ("first - pre = 2, last - post = 1", ((RESPONSE, "test_shifts_are_irradiated_minus_reference"),)),
    30: (
        "three stages, 0 before the beam; arrays",
        ((PRECISION, "test_relative_precision_is_zero_before_the_beam"), (MANIFEST, "test_every_array_has_its_keys_and_finite_values")),
    ),
    31: ("rates 0 and 0.05 by the older definition", ((RESPONSE, "test_legacy_rates_of_frames"),)),
    32: ("a time stamp in a HIERARCH card", ((ROWS_OF_CAMPAIGNS, "test_two_doses_are_two_groups"),)),
    33: ("A = 2, 1.5, 0.2; B = 0.5, 0.05, 0.1", ((RESPONSE, "test_rate_model_of_the_check_values"),)),
    34: ("slopes -20 and -2, intercepts 4 and 0.4", ((RESPONSE, "test_std_on_mean_lines"),)),
    35: ("f1, f2, f10", (("irradiation/test_operation.py", "test_frames_in_the_order_of_their_numbers"), (RAW, "test_natural_order"))),
    36: (
        "one of two data sets",
        (("irradiation/test_runs.py", "test_datasets_do_not_change_the_doses"), (MANIFEST, "test_datasets_and_stages_choose")),
    ),
    37: ("no line: the figure is written, without it", ((LAB_ROWS, "test_a_law_that_cannot_be_fitted_has_its_figure"),)),
    38: ("maps 11 and 21", ((MASTERS, "test_bias_maps_of_each_temperature"),)),
    39: ("101, 200, 400; the nearest within tolerance", ((MASTERS, "test_nearest_group_within_tolerance"),)),
    40: ("Sensor Damage, Sensor Damage, Likely Sensor, Temperature", (("lab/test_models.py", "test_classes_of_changed_pixels"),)),
}


LOGS, MODELS, CAMPAIGN_LOGS = "lab/test_logs.py", "lab/test_models.py", "irradiation/test_dose.py"
BAD_INPUT: dict[str, tuple[tuple[str, str], ...]] = {
    "configuration missing": ((LOGS, "test_absent_configuration"), (RAW, "test_missing_configuration_and_log_are_named")),
    "log missing, or no row for the frame": (
        (RAW, "test_missing_configuration_and_log_are_named"),
        (MASTERS, "test_frames_without_temperature_are_named"),
        (INDEX, "test_what_is_missing_is_said"),
    ),
    "NaN in a log": ((LOGS, "test_nan_and_infinite_values_are_undefined_and_named"),),
    "byte-order mark": ((LOGS, "test_byte_order_mark_number_with_point_and_empty_cells"),),
    "foreign letters in a configuration": ((LOGS, "test_configuration_with_foreign_letters"),),
    "a structural word of FITS as a key": ((RAW, "test_a_configuration_cannot_change_the_files_structure_or_kind"),),
    "short or long raw": ((RAW, "test_a_size_that_does_not_fit_is_rejected"), (RAW, "test_padding_fills_with_zeros_and_says_so")),
    "a campaign of raws alone": ((MANIFEST, "test_each_plan_ends_with_a_report"),),
    "a corrupt FITS": ((INDEX, "test_a_corrupt_file_is_a_bad_frame_and_ends_nothing"),),
    "no FITS": (("deployments/test_cli_lab.py", "test_mistakes_are_told"),),
    "a log without frame number or dose": (
        (LOGS, "test_a_first_column_stands_for_the_frame_number_with_a_warning"),
        (CAMPAIGN_LOGS, "test_logs_that_are_none"),
    ),
    "folders without bias, dark or flat in their names": (
        ("lab/test_names.py", "test_kind_by_folder"),
        (CONVERT, "test_simulated_campaigns_are_found_whole_in_every_layout"),
    ),
    "no darks of 1 s": ((MODELS, "test_no_darks_of_one_second_are_needed"),),
    "a header without EXPTIME": ((MODELS, "test_frames_without_exposure_are_left_out_and_said"),),
    "a stage absent": ((RESPONSE, "test_a_missing_stage_is_a_reason_not_a_number"),),
}
"""What the older suite made of missing or bad input is a message or a marked frame now."""


@cache
def functions(name: str) -> dict[str, ast.FunctionDef]:
    """Tests of a module."""
    tree = ast.parse((TESTS / name).read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def checks(node: ast.FunctionDef) -> int:
    """How many things a test asserts."""
    calls = [ast.unparse(one.func) for one in ast.walk(node) if isinstance(one, ast.Call)]
    return sum(isinstance(one, ast.Assert) for one in ast.walk(node)) + sum("assert_" in name or name == "pytest.raises" for name in calls)


def check(row: str, tests: tuple[tuple[str, str], ...]) -> None:
    """Each test is there, runs in the short form and asserts something."""
    assert tests, row
    for module, name in tests:
        node = functions(module).get(name)
        assert node is not None, f"{row}: {module} has no {name}"
        assert checks(node), f"{row}: {name} asserts nothing"
        marks = " ".join(ast.unparse(mark) for mark in node.decorator_list)
        assert not any(word in marks for word in ("skip", "xfail", "slow")), f"{row}: {name} does not run: {marks}"


def test_every_row_has_its_tests() -> None:
    assert list(ROWS) == list(range(1, 41))
    for number, (what, tests) in ROWS.items():
        check(f"row {number}, {what}", tests)
    for what, tests in BAD_INPUT.items():
        check(what, tests)


def test_the_log_of_a_whole_campaign_alone(tmp_path: Path) -> None:
    folder = attempt(tmp_path / "TestSection1" / "attempt0", log="radiationLogCompleto.csv")
    (folder / "radiationLogCompleto.csv").write_text("FrameNum,Temperature\n0,1.5\n1,2.5\n")
    (found,) = find_attempts(tmp_path)
    notes = read_notes(found)
    values = [frame_keywords(raw, notes, found.caltype)[0] for raw in found.raws]
    assert [(one["FRAMENUM"], one["TEMP"]) for one in values] == [(0, 1.5), (1, 2.5)]


def test_the_scatter_of_a_pixel(tmp_path: Path) -> None:
    """1 and 3: mean 2, population scatter 1; the master's error is that of the mean, sqrt(2) / sqrt(2)."""
    (group,) = group_frames([frame(tmp_path, str(value), value, temperature_c=10.0) for value in (1, 3)])
    master = make_master(group, "x")
    assert float(np.median(master.mean)) == pytest.approx(2)
    assert master.error is not None
    assert float(np.median(master.error)) * np.sqrt(2) * np.sqrt((2 - 1) / 2) == pytest.approx(1)


def test_a_law_that_cannot_be_fitted_has_its_figure(tmp_path: Path) -> None:
    levels = [level(5.0, 10), level(5.0, 12)]
    fit = dose_model(levels)
    assert np.isnan(fit.value("slope"))
    assert fit.why
    tree = Tree(tmp_path)
    _write_law(tree, "law", levels, fit)
    assert (tmp_path / "law.png").read_bytes().startswith(b"\x89PNG")
    with np.load(tmp_path / "law.npz") as arrays:
        assert arrays["mean"].tolist() == [10, 12]
        assert np.isnan(arrays["model"]).all()
