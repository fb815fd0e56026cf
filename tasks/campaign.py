"""An irradiation campaign from its folder to tables, figures, report: one command and one plan for all layouts."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from nightcrew.errors import Refused
from nightcrew.irradiation.analysis import analyse
from nightcrew.irradiation.discover import Campaign, Wanted, find_campaigns
from nightcrew.irradiation.grouping import NO_DOSE, make_groups
from nightcrew.irradiation.masters import make_masters
from nightcrew.irradiation.operation import Operation
from nightcrew.irradiation.results import Analysis
from nightcrew.irradiation.stacks import DEFAULT_MEMORY_BYTES, stored_step
from nightcrew.irradiation.star_noise import Star
from nightcrew.irradiation.tokens import STAGES, Stage
from nightcrew.lab.index import write_frames_index
from reports.analysis import MODEL, REPORT, AnalysisPage, pictures, tables
from reports.campaign_page import PageSource, campaign_page
from reports.campaign_verdict import PagePart
from reports.names import FIGURES, NUMBERS
from reports.summary import FILE_NAME
from tasks.campaign_dose import write_dose
from tasks.campaign_files import Tree, clear_old, safe, write_list
from tasks.campaign_model import write_model, write_pixel_maps, write_reconstruction
from tasks.campaign_operation import write_operation
from tasks.campaign_precision import write_precision
from tasks.campaign_radiation import write_krad_plots, write_stages
from tasks.campaign_tables import write_campaign_table, write_damage, write_frame_info, write_frame_stats, write_log

PlanName = Literal["standard", "irradiation", "radiation", "full", "krad", "variation", "operation"]
PLANS: tuple[PlanName, ...] = get_args(PlanName)
PRECISION = {"full": "precision/", "krad": "dose_analysis/"}
STAGES_FOLDER = {"krad": "radiation_analysis/"}


@dataclass(frozen=True, kw_only=True)
class CampaignRequest:
    """What is asked for.  ``plan`` "" is recognised from the layout; ``predict_krad``: doses to forecast a star at."""

    root: Path
    out: Path
    dose_log: Path | None = None
    plan: str = ""
    stages: tuple[Stage, ...] = STAGES
    datasets: tuple[str, ...] = ()
    ignore_temperature: bool = False
    group_by_dose: bool = False
    gain_e_per_adu: float | None = None
    star: Star = field(default_factory=Star)
    predict_krad: tuple[float, ...] = ()
    title: str = ""
    memory_bytes: int = DEFAULT_MEMORY_BYTES
    threads: int = 2
    work: Path | None = None  # where converted frames go (default: out, where a second run finds them)


@dataclass(frozen=True, kw_only=True, eq=False)
class CampaignPart:
    """One campaign of the root: its plan, analysis, operation sequences, and sentences on what there is not."""

    campaign: Campaign
    plan: PlanName
    folder: str
    analysis: Analysis | None
    operation: tuple[Operation, ...]
    absent: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class CampaignResult:
    """All campaigns, the page, and every file that was written below OUT with its meaning."""

    parts: tuple[CampaignPart, ...]
    page: AnalysisPage
    files: dict[str, str]


def run_campaign(request: CampaignRequest, *, told: Callable[[str], None] | None = None) -> CampaignResult:
    """Analyse all campaigns below the root and write everything but the page's own files below ``out``.

    The page is written by :func:`reports.analysis.write_analysis`.  Raises ``Refused`` for a plan that is none, and where there is no
    frame; frames and logs that cannot be used are left out and named.
    """
    if request.plan and request.plan not in PLANS:
        raise Refused(f"there is no plan {request.plan!r}; there are {', '.join(PLANS)}")
    say = told or (lambda text: None)
    say("looking for frames, converting raw ones")
    campaigns = find_campaigns(
        request.root,
        request.work or request.out,
        dose_log=request.dose_log,
        wanted=Wanted(stages=request.stages, datasets=request.datasets),
        threads=request.threads,
        given_stage="pre" if request.plan == "standard" else "",
    )
    clear_old(request.out)
    tree = Tree(request.out)
    parts = tuple(_part(request, one, len(campaigns) > 1, tree, say) for one in campaigns)
    # a unit's converted frames vanish with its work: they go by their names inside the campaign
    records = [
        record if request.work is None else replace(record, path=request.out / name)
        for one in campaigns
        for name, record in one.records.items()
    ]
    write_frames_index(request.out / "index.csv", records)
    tree.made["index.csv"] = "every frame with kind, stage, temperature and whether it can be used"
    page = campaign_page(
        PageSource(
            parts=tuple(_of_page(part) for part in parts),
            title=request.title or request.root.resolve().name,
            inputs=inputs_of(request, campaigns),
            read=lambda name: (request.out / name).read_bytes(),
            files=tree.made,
            star=request.star,
            predict_krad=request.predict_krad,
        )
    )
    beside = [f"{FIGURES}/{name}.png" for name in pictures(page)] + [f"{NUMBERS}/{table.name}.csv" for table in tables(page)]
    write_list(request.out, tree.made, [REPORT, MODEL, FILE_NAME, *beside])
    return CampaignResult(parts=parts, page=page, files=dict(tree.made))


def _of_page(part: CampaignPart) -> PagePart:
    analysis = part.analysis
    return PagePart(
        name=part.campaign.name,
        plan=part.plan,
        folder=part.folder,
        analysis=analysis,
        operation=part.operation,
        absent=part.absent,
        remarks=analysis.remarks if analysis is not None else part.campaign.remarks,
        left_out=analysis.left_out if analysis is not None else part.campaign.left_out,
    )


def inputs_of(request: CampaignRequest, campaigns: Sequence[Campaign]) -> tuple[dict[str, str], ...]:
    """The input frames as one line a campaign: how many, and a hash over their names and sizes."""
    made = []
    for one in campaigns:
        digest = hashlib.sha256()
        for name, record in sorted(one.records.items()):
            digest.update(f"{name}\0{record.path.stat().st_size if record.path.exists() else 0}\0".encode("utf-8", "surrogateescape"))
        made.append({"file": one.name or request.root.name, "frames": str(len(one.records)), "names_sha256": digest.hexdigest()})
    return tuple(made)


def recognised(campaign: Campaign) -> PlanName:
    """The plan that a layout asks for."""
    if campaign.layout == "oper":
        return "operation"
    if campaign.layout == "krad":
        return "krad"
    return "standard" if campaign.layout == "std" else "full"


def _part(request: CampaignRequest, campaign: Campaign, several: bool, tree: Tree, say: Callable[[str], None]) -> CampaignPart:
    folder = "/".join(safe(part) for part in campaign.name.split("/")) + "/" if several and campaign.name else ""
    plan = _plan_of(request, campaign)
    absent: list[str] = []
    analysis = None
    inside = _Inside(tree, folder)
    if plan != "operation" and campaign.frames:
        analysis = _analyse(request, campaign, request.out / folder, say)
        say("writing tables and figures")
        absent += _write(request, inside, analysis, plan)
    elif plan != "operation":
        absent.append("There is no bias, dark or flat that can be used.")
    sequences: list[Operation] = []
    if campaign.operation and plan in ("operation", "full", "krad"):
        say("operation sequences")
        sequences, missing = write_operation(inside.tree, campaign, "operation/", request.memory_bytes)
        absent += missing
    elif plan == "operation":
        absent.append("There is no operation sequence.")
    inside.close()
    return CampaignPart(
        campaign=campaign, plan=plan, folder=folder, analysis=analysis, operation=tuple(sequences), absent=tuple(dict.fromkeys(absent))
    )


class _Inside:
    """The tree of one campaign; its names join those of the whole."""

    def __init__(self, whole: Tree, folder: str) -> None:
        self._whole, self._folder = whole, folder
        self.tree = Tree(whole.root / folder) if folder else whole

    def close(self) -> None:
        if self.tree is not self._whole:
            self._whole.made |= {self._folder + name: about for name, about in self.tree.made.items()}


def _plan_of(request: CampaignRequest, campaign: Campaign) -> PlanName:
    return next((plan for plan in PLANS if plan == request.plan), recognised(campaign))


def ignores_temperature(request: CampaignRequest, campaign: Campaign) -> bool:
    """``--ignore-temp``; ``--group-by-dose`` does the same where the log has exactly one distinct dose."""
    if request.ignore_temperature:
        return True
    log = campaign.logs.whole
    return request.group_by_dose and log is not None and len({dose for dose in log.dose_krad.tolist() if math.isfinite(dose)}) == 1


def _analyse(request: CampaignRequest, campaign: Campaign, out: Path, say: Callable[[str], None]) -> Analysis:
    groups, left_out = make_groups(campaign.frames, campaign.doses, ignore_temperature=ignores_temperature(request, campaign))
    step = stored_step([frame.path for frame in campaign.frames])
    say(f"masters of {len(groups)} groups")
    for old in sorted((out / "masters").glob("master_*.fits")) if (out / "masters").is_dir() else []:
        old.unlink()
    masters, remarks = make_masters(groups, out / "masters", step_adu=step, memory_bytes=request.memory_bytes)
    say("response, joint model, damage")
    every = {**campaign.left_out, **left_out}
    return analyse(campaign, masters, every, step_adu=step, gain_e_per_adu=request.gain_e_per_adu, remarks=remarks)


def _write(request: CampaignRequest, inside: _Inside, analysis: Analysis, plan: PlanName) -> list[str]:
    tree = inside.tree
    absent: list[str] = []
    for one in analysis.masters:
        tree.made[f"masters/{one.path.name}"] = "master"
    write_frame_info(tree, analysis)
    write_frame_stats(tree, analysis)
    write_campaign_table(tree, analysis)
    if plan in ("standard", "irradiation"):
        return _write_laboratory(request, tree, analysis)
    absent += write_stages(tree, analysis, STAGES_FOLDER.get(plan, ""))
    if plan in ("radiation", "variation"):
        return absent
    absent += write_model(tree, analysis)
    absent += write_pixel_maps(tree, analysis)
    absent += write_reconstruction(tree, analysis)
    folder = PRECISION[plan]
    absent += write_dose(tree, analysis, folder)
    absent += write_precision(tree, analysis, folder, request.star, request.predict_krad)
    absent += write_damage(tree, analysis)
    if plan == "krad":
        write_krad_plots(tree, analysis)
        write_log(tree, analysis)
    return absent


def _write_laboratory(request: CampaignRequest, tree: Tree, analysis: Analysis) -> list[str]:
    """What the laboratory makes of biases, darks and flats: ``masters/<kind>/``, ``frame_stats.csv``, ``plots/``, ``comparisons/``."""
    from tasks.lab_masters import masters_and_stats

    known = analysis.campaign.records
    frames = [
        replace(known[frame.relative], caltype=frame.kind, stage=frame.stage or "", dose_krad=frame.nominal_dose_krad)
        for frame in analysis.campaign.frames
        if analysis.left_out.get(frame.relative, NO_DOSE) == NO_DOSE  # the laboratory's masters need no dose
    ]
    made = masters_and_stats(frames, tree.root, threads=request.threads)
    for name in ("frame_stats.csv", "plots", "comparisons", "masters"):
        about = "statistics of every frame" if name.endswith(".csv") else "results as the laboratory makes them"
        place = tree.root / name
        files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
        tree.made |= {path.relative_to(tree.root).as_posix(): about for path in files if path.is_file()}
    return list(made.warnings)
