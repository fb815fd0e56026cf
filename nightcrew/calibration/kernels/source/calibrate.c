/* Calibrate one light: science, uncertainty and mask in one pass over the rows.
 *
 * The variance uses the mean of the good science values in a box around the pixel instead of the pixel's own value.
 * Rows enter a ring of horizontal sums; a row is finished when the rows below it that its box needs have been read.
 * Operation by operation as calibrate_fallback.py. */
#include "common.h"

enum { FLAG_SATURATED = 8, FLAG_NO_DATA = 32, FLAG_BAD_FLAT = 64, MAX_MASKS = 6 };
#define LARGEST 3.4028234663852886e38f

typedef struct {
    frame_t raw; /* data, kind, swapped, zero, saturation */
    const float *bias, *bias_sigma, *dark, *dark_sigma, *dark_zero, *flat, *flat_sigma; /* each may be NULL */
    const uint16_t *mask_in[MAX_MASKS];
    const double *pedestal; /* of every row, or NULL */
    float *science, *sigma;
    uint16_t *mask;
    int64_t ny, nx, raw_stride, first_raw, first_out; /* rows where raw, and where the planes to fill, begin */
    double dark_factor, gain, read_variance, bias_share, own_sigma2, least;
    int32_t half, n_masks, photons, unused;
} light_t;

typedef struct {
    float *value, *sum, *count; /* rings of 2 half + 1 rows */
    float *padded, *good, *expected, *fixed;
    double *work;
    uint16_t *flags;
} ring_t;

DEFINE_LOAD(load_raw, double)

/* Science values and flags of row y; NaN where there is no value.  Differences in float64, then float32. */
INLINE void science_row(const light_t *t, long y, double *restrict work, float *restrict value, uint16_t *restrict flags)
{
    long nx = t->nx, first = y * nx;
    double pedestal = t->pedestal ? t->pedestal[y] : 0.0, zero = t->raw.zero, saturation = t->raw.saturation, gain = t->gain;
    load_raw(&t->raw, (y - t->first_raw) * t->raw_stride, nx, work);
    for (long x = 0; x < nx; x++)
        work[x] += zero;
    for (long x = 0; x < nx; x++)
        flags[x] = work[x] >= saturation ? FLAG_SATURATED : 0;
    for (int m = 0; m < t->n_masks; m++) {
        const uint16_t *restrict mask = t->mask_in[m] + first;
        for (long x = 0; x < nx; x++)
            flags[x] |= mask[x];
    }
    for (long x = 0; x < nx; x++)
        work[x] -= pedestal;
    if (t->bias) {
        const float *restrict bias = t->bias + first;
        for (long x = 0; x < nx; x++)
            work[x] -= (double)bias[x];
    }
    if (t->dark) {
        const float *restrict dark = t->dark + first;
        double factor = t->dark_factor;
        for (long x = 0; x < nx; x++)
            work[x] -= factor * (double)dark[x];
    }
    for (long x = 0; x < nx; x++)
        value[x] = (float)(work[x] * gain);
    if (t->flat) {
        const float *restrict flat = t->flat + first;
        for (long x = 0; x < nx; x++) {
            int fine = (flat[x] > 0.0f) & (flat[x] <= LARGEST);
            float divided = value[x] / flat[x];
            value[x] = fine ? divided : NAN;
            flags[x] |= fine ? 0 : FLAG_BAD_FLAT;
        }
    }
    for (long x = 0; x < nx; x++) {
        int fine = fabsf(value[x]) <= LARGEST;
        flags[x] |= fine ? 0 : FLAG_NO_DATA;
        value[x] = fine ? value[x] : NAN;
    }
}

/* Sums over [x - half, x + half] of good values and of their number; padded and good have half zeros at both ends. */
INLINE void row_sums(long nx, long half, const float *restrict padded, const float *restrict good, float *restrict sum, float *restrict count)
{
    for (long x = 0; x < nx; x++) {
        sum[x] = padded[x];
        count[x] = good[x];
    }
    for (long d = 1; d <= 2 * half; d++)
        for (long x = 0; x < nx; x++) {
            sum[x] += padded[x + d];
            count[x] += good[x + d];
        }
}

/* Read row y into the ring, and write science and mask if it is one of ours. */
INLINE void take_row(const light_t *t, long y, int ours, ring_t *r)
{
    long nx = t->nx, half = t->half, slot = (y % (2 * half + 1)) * nx;
    float *restrict value = r->value + slot;
    science_row(t, y, r->work, value, r->flags);
    for (long x = 0; x < nx; x++) {
        int good = r->flags[x] == 0;
        r->padded[half + x] = good ? value[x] : 0.0f;
        r->good[half + x] = good ? 1.0f : 0.0f;
    }
    row_sums(nx, half, r->padded, r->good, r->sum + slot, r->count + slot);
    if (!ours)
        return;
    memcpy(t->science + (y - t->first_out) * nx, value, (size_t)nx * sizeof(float));
    memcpy(t->mask + (y - t->first_out) * nx, r->flags, (size_t)nx * sizeof(uint16_t));
}

/* Variance of row y that does not depend on the light, in e^2 before the flat. */
INLINE void fixed_row(const light_t *t, long y, float *restrict fixed)
{
    long nx = t->nx, first = y * nx;
    double gain2 = t->gain * t->gain;
    float read = (float)t->read_variance, thermal = (float)(t->gain * t->dark_factor);
    float share = (float)(t->bias_share * gain2), dark2 = (float)(t->dark_factor * t->dark_factor * gain2);
    for (long x = 0; x < nx; x++)
        fixed[x] = read;
    if (t->dark && t->photons && t->dark_zero)
        for (long x = 0; x < nx; x++)
            fixed[x] += thermal * (t->dark[first + x] - t->dark_zero[first + x]);
    else if (t->dark && t->photons)
        for (long x = 0; x < nx; x++)
            fixed[x] += thermal * t->dark[first + x];
    if (t->bias_sigma)
        for (long x = 0; x < nx; x++)
            fixed[x] += share * (t->bias_sigma[first + x] * t->bias_sigma[first + x]);
    if (t->dark_sigma)
        for (long x = 0; x < nx; x++)
            fixed[x] += dark2 * (t->dark_sigma[first + x] * t->dark_sigma[first + x]);
}

/* Uncertainty of row y: the expected value is the box's mean, or the pixel's own where that is far from the mean.
 * photons and flat_sigma are constants where this is inlined. */
INLINE void sigma_row(const light_t *t, long y, const ring_t *r, const float *restrict value, const float *restrict flat,
                      const float *restrict flat_sigma, int photons)
{
    long nx = t->nx, first = y * nx;
    const float *restrict fixed = r->fixed, *restrict mean = r->expected;
    float *restrict out = t->sigma + (y - t->first_out) * nx;
    float own2 = (float)t->own_sigma2, least = (float)t->least;
    for (long x = 0; x < nx; x++) {
        float f = flat ? flat[first + x] : 1.0f, m = mean[x], lowest = least * fixed[x], difference = (value[x] - m) * f;
        float variance = photons ? fixed[x] + f * m : fixed[x];
        variance = variance > lowest ? variance : lowest;
        int own = difference * difference > own2 * variance;
        m = own ? value[x] : m;
        variance = photons ? fixed[x] + f * m : fixed[x];
        variance = variance > lowest ? variance : lowest;
        if (flat) {
            float inverse = 1.0f / f;
            variance = variance * (inverse * inverse);
            if (flat_sigma) {
                float part = m * (flat_sigma[first + x] * inverse);
                variance += part * part;
            }
        }
        float sigma = sqrtf(variance);
        out[x] = value[x] == value[x] ? sigma : NAN;
    }
}

INLINE void finish_row(const light_t *t, long y, ring_t *r)
{
    long nx = t->nx, half = t->half, side = 2 * half + 1;
    float *restrict total = r->padded + half, *restrict n = r->good + half; /* used again: their row has been summed */
    for (long x = 0; x < nx; x++)
        total[x] = n[x] = 0.0f;
    for (long row = y - half < 0 ? 0 : y - half; row <= y + half && row < t->ny; row++) {
        const float *restrict sum = r->sum + (row % side) * nx, *restrict count = r->count + (row % side) * nx;
        for (long x = 0; x < nx; x++) {
            total[x] += sum[x];
            n[x] += count[x];
        }
    }
    const float *restrict value = r->value + (y % side) * nx;
    for (long x = 0; x < nx; x++) {
        float mean = total[x] / n[x];
        r->expected[x] = n[x] > 0.0f ? mean : value[x];
    }
    fixed_row(t, y, r->fixed);
    if (t->flat && t->flat_sigma && t->photons)
        sigma_row(t, y, r, value, t->flat, t->flat_sigma, 1);
    else if (t->flat && t->photons)
        sigma_row(t, y, r, value, t->flat, NULL, 1);
    else if (t->photons)
        sigma_row(t, y, r, value, NULL, NULL, 1);
    else
        sigma_row(t, y, r, value, t->flat, t->flat ? t->flat_sigma : NULL, 0);
}

static void run_rows(const light_t *t, long y0, long y1, ring_t *r)
{
    long half = t->half, last = y1 + half < t->ny ? y1 + half : t->ny, done = y0;
    for (long y = y0 - half < 0 ? 0 : y0 - half; y < last; y++) {
        take_row(t, y, y >= y0 && y < y1, r);
        for (; t->sigma && done < y1 && (done + half <= y || y == last - 1); done++)
            finish_row(t, done, r);
    }
}

/* Rows [y0, y1) of the light; rows around them are read for the box.  Returns 0, or -1 when there is no memory. */
PUBLIC int nightcrew_calibrate(const light_t *t, long y0, long y1)
{
    long nx = t->nx, side = 2 * t->half + 1, padded = nx + 2 * t->half;
    size_t floats = ROUNDED(side * nx * sizeof(float)), wide = ROUNDED(padded * sizeof(float));
    size_t room = 3 * floats + 4 * wide + ROUNDED(nx * sizeof(double)) + ROUNDED(nx * sizeof(uint16_t));
    char *memory = aligned_alloc(64, room), *at = memory;
    if (!memory)
        return -1;
    memset(memory, 0, room);
    ring_t ring = {.value = carve(&at, floats), .sum = carve(&at, floats)};
    ring.count = carve(&at, floats);
    ring.padded = carve(&at, wide);
    ring.good = carve(&at, wide);
    ring.expected = carve(&at, wide);
    ring.fixed = carve(&at, wide);
    ring.work = carve(&at, nx * sizeof(double));
    ring.flags = carve(&at, nx * sizeof(uint16_t));
    run_rows(t, y0, y1, &ring);
    free(memory);
    return 0;
}

PUBLIC int nightcrew_light_size(void) { return (int)sizeof(light_t); }
