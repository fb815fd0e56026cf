"""Sections of the configuration for the kinds of sets; :mod:`nightcrew.settings` reads them with all others."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """One table of the file: unknown keys are refused, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class SensorSettings(Section):
    """Sensor sets: biases, darks and flats of a bench (folders of kind "sensor")."""

    crop: str = Field("100x100", description="crop of the photon-transfer tables, COLUMNSxROWS about the middle or x0:x1,y0:y1")
    offset_correction: float = Field(0.0, description="ADU taken from the signal besides the bias, in the tables")
    amplifiers: str = Field("1x1", description="amplifiers, COLUMNSxROWS; each is measured by itself")
    bayer: str = Field("auto", description='colour pattern such as "RGGB"; "auto": from the headers; "none": all pixels alike')
    temperature_tolerance_c: float = Field(0.5, ge=0, description="temperatures this close are one, C")
    lights_are_flats: bool = Field(default=False, description="frames labelled as lights are flats")
    max_lag: int = Field(8, ge=0, le=16, description="covariances with neighbours up to so many pixels; 0: none")
    sky: tuple[str, ...] = Field((), description='rates of the sky for minimum exposures, such as "V=0.8" (e-/s a pixel)')
    times_read_noise: float = Field(1.0, gt=0, description="minimum exposures: light's shot noise at least so many read noises")
    data_sheet: str = Field("", description='the maker\'s dark rate, RATE@C/DOUBLING, such as "112@60/11" (e-/s, C, K)')
    profile: str = Field("auto", min_length=1, description='name of an instrument profile, or "auto": chosen from each header')


class LabSettings(Section):
    """Laboratory sets: raw frames with configuration and logs, attempt by attempt (folders of kind "lab")."""

    byte_order: Literal["little", "big"] = Field("little", description="of 16-bit raw pixels")
    header_bytes: int = Field(0, ge=0, description="bytes before the first pixel of a raw frame")
    shift_bits: int = Field(0, ge=0, le=15, description="stored words are shifted down by so many bits (4 for 12 bits stored x16); 0: kept")
    pad: bool = Field(default=False, description="fill up or cut raws of the wrong size (BADSIZE) instead of rejecting them")
    gap_k: float = Field(0.5, gt=0, description="frames are of one temperature where no gap is larger than this, K")
    law: Literal["exponential", "arrhenius"] = Field("exponential", description="of the dark rate with temperature")
    saturation_adu: float = Field(0.0, ge=0, description="stored value from which a pixel is saturated; 0: by the form of the numbers")
    hot_sigma: float = Field(10.0, ge=1, description="a pixel is hot above the median rate by so many robust standard deviations")
    flat_type: Literal["lab", "sky", "satellite"] = Field("lab", description="what the flats show; stars of sky flats are masked")
    norm_method: Literal["robust", "mean", "max"] = Field("robust", description="what flats are divided by")
    save_plots: bool = Field(default=True, description="draw the figures beside the tables")


class CampaignSettings(Section):
    """Irradiation campaigns: frames before, in and after the beam, with logs (folders of kind "campaign")."""

    plan: Literal["", "standard", "irradiation", "radiation", "full", "krad", "variation", "operation"] = Field(
        "", description='what is made; "": by the layout of the folders'
    )
    ignore_temperature: bool = Field(default=False, description="one group for all temperatures")
    gain_e_per_adu: float = Field(0.0, ge=0, description="gain of the detector; 0: from the noise of the darks, where it tells it")
    star_magnitude: float = Field(13.0, description="star of the forecast")
    zero_point_mag: float = Field(20.0, description="magnitude that gives 1 e-/s")
    star_exposure_s: float = Field(10.0, gt=0, description="exposure of the star, s")
    aperture_radius_px: float = Field(4.0, gt=0, description="radius of the star's aperture")
    sky_e_per_s: float = Field(1.0, ge=0, description="sky, e-/s a pixel")
    predict_krad: tuple[float, ...] = Field((), description="doses to forecast the star at; empty: those of the campaign")


class MkidSettings(Section):
    """Photon lists: readout seconds of MKID arrays with beam map and observing log (folders of kind "mkid")."""

    beam_map_flags: Literal["current", "older"] = Field("current", description="what the flags in the beam map mean")
    wavecal_plots: tuple[str, ...] = Field((), description='plots of each wavelength calibration besides the summary, by name, or "all"')
    wavecal_dt_us: int = Field(500, ge=0, le=1_000_000, description="photons that follow another so soon are left out, microseconds")
    wavecal_models: tuple[str, ...] = Field(
        ("gaussian_and_exp", "gaussian_and_gaussian", "gaussian_and_gaussian_and_exp"), description="models of a laser's histogram"
    )
    flat_chunk_s: float = Field(5.0, ge=0.001, le=86_400, description="length of a chunk of a flat, seconds")
    flat_most_s: float = Field(30.0, gt=0, description="length of each flat that is used, seconds")
    flat_bin_ev: float = Field(0.01, gt=0, description="width of a wavelength bin, eV")
    flat_from_nm: float = Field(700.0, ge=100, description="shortest wavelength of the flat field, nm")
    flat_to_nm: float = Field(1500.0, le=10_000, description="longest wavelength of the flat field, nm")
    flat_rate_cutoff_cps: float = Field(20_000.0, gt=0, description="chunks whose median pixel counts more are left out, photons/s")
    flat_trim_fraction: float = Field(0.0, ge=0, lt=0.5, description="fraction of the chunks that is cut off at each end")
    flat_degree: int = Field(2, ge=0, le=10, description="degree of the polynomial of weights in wavelength")
    flat_book_pixels: int = Field(24, ge=0, le=2000, description="pixels in the plot books of single pixels; 0: none")
    mask_method: Literal["threshold", "median", "laplacian"] = Field("threshold", description="how hot and cold pixels are found")
    mask_step_s: float = Field(30.0, ge=0.001, le=86_400, description="length of a step of the pixel masks, seconds")
    mask_sigma: float = Field(5.0, gt=0, description="standard deviations from which a pixel is hot or cold")
    cosmic_sigma: float = Field(6.0, gt=0, description="standard deviations from which ten microseconds are a cosmic ray")
    linearity_step_s: float = Field(1.0, ge=0, description="weights for dead time, rates in steps of so many seconds; 0: none")
