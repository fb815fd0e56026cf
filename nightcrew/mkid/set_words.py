"""Options of watched photon lists (folders of kind "mkid"), as the configuration's table [mkid] gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from nightcrew.errors import Refused
from nightcrew.mkid.cosmic_search import CosmicOptions
from nightcrew.mkid.flags import ENUMERATIONS
from nightcrew.mkid.flatcal import FlatOptions
from nightcrew.mkid.pixel_masks import MaskOptions
from nightcrew.mkid.registered import checked_step_s
from nightcrew.mkid.wavecal import WavecalOptions
from nightcrew.mkid.wavelength_solution import MODELS


@dataclass(frozen=True, kw_only=True)
class MkidWords:
    """Values of the table; defaults where it has none."""

    beam_map_flags: str = "current"
    wavecal_plots: tuple[str, ...] = ()
    wavecal_dt_us: int = 500
    wavecal_models: tuple[str, ...] = MODELS[1:]
    flat_chunk_s: float = 5.0
    flat_most_s: float = 30.0
    flat_bin_ev: float = 0.01
    flat_from_nm: float = 700.0
    flat_to_nm: float = 1500.0
    flat_rate_cutoff_cps: float = 20_000.0
    flat_trim_fraction: float = 0.0
    flat_degree: int = 2
    flat_book_pixels: int = 24
    mask_method: str = "threshold"
    mask_step_s: float = 30.0
    mask_sigma: float = 5.0
    cosmic_sigma: float = 6.0
    linearity_step_s: float = 1.0  # 0: photons are not weighted for dead time

    def wavecal(self) -> dict[str, Any]:
        """Parameters of the wavelength calibration."""
        return {"dead_us": self.wavecal_dt_us, "models": list(self.wavecal_models)}

    def flat(self) -> dict[str, Any]:
        """Parameters of the flat field, as :class:`FlatOptions` names them."""
        options = FlatOptions(
            chunk_s=self.flat_chunk_s,
            most_s=self.flat_most_s,
            energy_bin_ev=self.flat_bin_ev,
            low_nm=self.flat_from_nm,
            high_nm=self.flat_to_nm,
            most_cps=self.flat_rate_cutoff_cps,
            trim_fraction=self.flat_trim_fraction,
            degree=self.flat_degree,
        )
        return asdict(options)

    def masks(self) -> dict[str, Any]:
        """Parameters of pixel masks and cosmic rays."""
        masks = asdict(MaskOptions(method=self.mask_method, step_s=self.mask_step_s, n_sigma=self.mask_sigma))
        return {"masks": masks, "cosmic": asdict(CosmicOptions(n_sigma=self.cosmic_sigma))}


def words_of(values: Mapping[str, Any]) -> MkidWords:
    """The table as words; ``Refused`` for a value that makes no sense."""
    known = {one.name for one in fields(MkidWords)}
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items() if name in known}
    words = MkidWords(**given)
    if words.beam_map_flags not in ENUMERATIONS:
        raise Refused(f"beam_map_flags is {' or '.join(ENUMERATIONS)}, not {words.beam_map_flags!r}")
    WavecalOptions(dead_us=words.wavecal_dt_us, models=words.wavecal_models)
    words.flat()
    words.masks()
    checked_step_s(words.linearity_step_s or None)
    return words
