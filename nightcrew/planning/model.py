"""The words of planning: snapshot in, plan out; all frozen, all plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from nightcrew.frames.profiles import Rules
from nightcrew.ledger.history import Failure, Later
from nightcrew.ledger.rows import FrameRow, ProductRow, ScopeRow
from nightcrew.recipes.parameters import NightParameters

if TYPE_CHECKING:
    from nightcrew.planning.sets import SetFile

Status = Literal["present", "adopt", "ready", "pending", "failed"]
# Why a product stands although the rules ask for another one.
OUTDATED = "outdated: the rules ask for another one now; `nightcrew rerun` remakes it"
RAW_IS_GONE = "kept as it is: the raw files that it would be remade from are gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything that a plan may look at: one scope, and the masters that it may borrow."""

    scope: ScopeRow
    frames: Sequence[FrameRow]
    products: Mapping[str, ProductRow]  # of this scope, by fingerprint
    current: Mapping[tuple[str, str], str]  # (recipe, key) -> fingerprint
    elsewhere: Sequence[ProductRow]  # current masters of the same instrument in other scopes
    failures: Mapping[str, Failure]
    left_out: Mapping[int, Mapping[int, str]]  # product id -> frame id -> reason
    parts: Mapping[str, frozenset[int]]  # fingerprint of a current master -> ids of the frames that it was offered
    parameters: NightParameters
    rules: Rules
    remake: bool = True  # False: an old night, whose outdated products are kept until a person asks
    put_off: Mapping[str, Later] = field(default_factory=dict)  # fingerprints of what is optional and not tried now
    models: ProductRow | None = None  # detector models of the laboratory set that the rules name
    hindrances: Mapping[str, str] = field(default_factory=dict)  # fingerprint -> why it could not be made for now

    @property
    def closed(self) -> bool:
        """Has the night closed, so that what is missing is missing?"""
        return self.scope.state == "closed"


class Input(NamedTuple):
    """One input of a planned product: a frame of a night, a file of a set, or (with neither) a product by its fingerprint."""

    role: str
    fingerprint: str
    frame: FrameRow | None = None
    file: SetFile | None = None

    @property
    def is_product(self) -> bool:
        """Is it made by another unit?"""
        return self.frame is None and self.file is None


@dataclass(frozen=True, slots=True)
class Considered:
    """A candidate that association looked at, and the rule that it failed ("" when it was chosen)."""

    fingerprint: str
    name: str
    grade: str
    verdict: str
    mend: str = ""


def _nobody() -> tuple[Considered, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Choice:
    """What association decided for one need."""

    need: str  # such as "dark 60 s, -18.8 C"
    fingerprint: str = ""
    grade: str = ""
    reasons: tuple[str, ...] = ()
    candidates: Callable[[], tuple[Considered, ...]] = field(default=_nobody, repr=False, compare=False)

    @property
    def considered(self) -> tuple[Considered, ...]:
        """Every candidate with the rule that it failed; worked out when asked for, since only a person asks."""
        return self.candidates()

    def __reduce__(self) -> tuple[Any, ...]:
        """A choice travels to workers without its candidates: thousands of units would carry the archive's masters."""
        return (Choice, (self.need, self.fingerprint, self.grade, self.reasons))

    @property
    def found(self) -> bool:
        """Was a calibration chosen?"""
        return bool(self.fingerprint)


class PlannedProduct(NamedTuple):
    """A product that should exist, with everything that its unit of work needs to know.

    A named tuple, since a plan makes tens of thousands of them: a frozen dataclass sets its fields one by one.
    """

    recipe: str
    version: int
    scope_id: int
    night: str
    instrument: str
    key: str
    fingerprint: str
    inputs: tuple[Input, ...]
    parameters: dict[str, Any]
    facts: dict[str, Any]
    grade: str
    grade_reasons: tuple[str, ...]
    status: Status
    reason: str = ""
    choices: tuple[Choice, ...] = ()
    kept: str = ""  # why an earlier product stands in the place of the one that the rules ask for
    kind: str = "night"  # of its scope

    @property
    def name(self) -> str:
        """How people name it: ``dark_master 60s_-18.8C``."""
        return f"{self.recipe} {self.key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What should exist of a scope, and what waits for what."""

    scope: ScopeRow
    products: tuple[PlannedProduct, ...]
    waiting: Mapping[int, str]  # frame id -> what it waits for
    excluded: Mapping[int, str] = field(default_factory=dict)  # frame id -> why no recipe takes it
    gone: Mapping[int, str] = field(default_factory=dict)  # frame id -> its file is gone and no product holds it
    rejected: Mapping[int, str] = field(default_factory=dict)  # file id -> why a set cannot use it
    choices: Mapping[int, tuple[Choice, ...]] = field(default_factory=dict)  # of lights that wait
    held: frozenset[tuple[str, str]] = frozenset()  # (recipe, key) that are planned again when their group is quiet
    wake_at: str = ""
    fault: str = ""  # the rules of a kind of sets failed by a fault of the program

    def with_status(self, *statuses: str) -> list[PlannedProduct]:
        """The planned products in those states, in the order of their making."""
        return [product for product in self.products if product.status in statuses]

    @property
    def outdated(self) -> list[PlannedProduct]:
        """Products that are kept although the rules ask for others now."""
        return [product for product in self.products if product.kept]

    @property
    def keys(self) -> frozenset[tuple[str, str]]:
        """(recipe, key) of everything planned, for comparison with what is current."""
        return frozenset((product.recipe, product.key) for product in self.products)
