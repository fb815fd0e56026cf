"""Words of a campaign: its stages, its kinds of frames, and which campaign of a root a folder belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from nightcrew.lab import names
from nightcrew.lab.attempts import natural as natural  # noqa: PLC0414  the one sorting key of numbered names

Stage = Literal["pre", "radiating", "post"]
STAGES: tuple[Stage, ...] = get_args(Stage)
KINDS = ("BIAS", "DARK", "FLAT", "OPER")


def stage_word(text: str) -> Stage | None:
    """A stage by its word (``during`` is another word for ``radiating``), or None."""
    known: dict[str, Stage] = {"pre": "pre", "radiating": "radiating", "during": "radiating", "post": "post"}
    return known.get(text.strip().lower())


def campaign_of(folders: Sequence[str]) -> str:
    """The folders in front of the first that names a stage, a dose or a kind: the name of the campaign inside its root ("" for the root).

    ``CampaignA/Irradiation/5kRads`` belongs to ``CampaignA``, ``Preirradiation/Bias`` to the root itself.
    """
    for place, part in enumerate(folders):
        if names.stage_of((part,)) or names.folder_dose_krad((part,)) is not None or names.kind_of((part,)):
            return "/".join(folders[:place])
    return ""
