"""Simulated campaigns, analysed without writing figures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from nightcrew.irradiation.analysis import analyse
from nightcrew.irradiation.discover import Campaign, find_campaigns
from nightcrew.irradiation.grouping import make_groups
from nightcrew.irradiation.masters import make_masters
from nightcrew.irradiation.results import Analysis
from nightcrew.irradiation.stacks import stored_step
from nightcrew.simulate.campaign import make_irradiation
from nightcrew.simulate.campaign_plan import CampaignPlan, DamagedSensor

SMALL = CampaignPlan(sensor=DamagedSensor(ny=64, nx=64), frames=5)
STRONG = CampaignPlan(sensor=DamagedSensor(ny=160, nx=160), frames=6)
"""Large enough that noise leaves the limits on slopes, parameters and hot pixels to the analysis: see ``test_truth``."""


def simulated(root: Path, plan: CampaignPlan, seed: int = 1) -> dict[str, Any]:
    """Write a campaign below ``root/sim``; its truth."""
    return make_irradiation(root / "sim", plan, seed)


def analysed(root: Path, campaign: Campaign | None = None, **options: Any) -> Analysis:
    """The (first) campaign below ``root/sim``, analysed."""
    found = campaign or find_campaigns(root / "sim" / "campaign", root / "out")[0]
    groups, left_out = make_groups(found.frames, found.doses)
    step = stored_step([frame.path for frame in found.frames])
    masters, remarks = make_masters(groups, root / "out" / "masters", step_adu=step)
    return analyse(found, masters, {**found.left_out, **left_out}, step_adu=step, remarks=remarks, **options)


def plan_of(**changes: Any) -> CampaignPlan:
    """The small campaign with changes."""
    return dataclasses.replace(SMALL, **changes)
