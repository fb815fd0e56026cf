"""Plans of sets that are as small as a set can be."""

from __future__ import annotations

from nightcrew.simulate.campaign_plan import CampaignPlan, DamagedSensor
from nightcrew.simulate.lab_plan import LabPlan, LabSensor

SMALL_LAB = LabPlan(
    sensor=LabSensor(ny=24, nx=32, hot_fraction=0.01),
    bias_temperatures_c=(0.0, 20.0),
    bias_frames=3,
    dark_temperatures_c=(10.0, 20.0),
    dark_exposures_s=(5.0, 10.0),
    dark_frames=2,
    flat_temperatures_c=(20.0,),
    flat_exposures_s=(0.5,),
    flat_frames=2,
)
SMALL_CAMPAIGN = CampaignPlan(
    sensor=DamagedSensor(ny=24, nx=32), doses_krad=(5.0, 10.0), dark_exposures_s=(10.0,), frames=3, rates_krad_per_s=(0.002, 0.004)
)
