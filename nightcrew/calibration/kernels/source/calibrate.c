/* Calibrate one light: science, uncertainty and mask in one pass over the rows.
 *
 * The variance uses the mean of the good science values in a box around the pixel instead of the pixel's own value.
 * Rows enter a ring of horizontal sums; a row is finished when the rows below it that its box needs have been read.
 * Operation by operation as calibrate_fallback.py. */
#include "common.h"

enum { FLAG_SATURATED = 8, FLAG_NO_DATA = 32, FLAG_BAD_FLAT = 64, MAX_MASKS = 6 };
#define LARGEST 3.4028234663852886e38

typedef struct {
    frame_t raw; /* data, kind, swapped, zero, saturation */
    const float *bias, *bias_sigma, *dark, *dark_sigma, *dark_zero, *flat, *flat_sigma; /* each may be NULL */
    const uint16_t *mask_in[MAX_MASKS];
    const double *pedestal; /* of every row, or NULL */
    float *science, *sigma;
    uint16_t *mask;
    int64_t ny, nx, raw_stride;
    double dark_factor, gain, read_variance, bias_share, own_sigma2, least;
    int32_t half, n_masks, photons, unused;
} light_t;

typedef struct {
    double *value, *sum, *count; /* rings of 2 half + 1 rows */
    double *padded, *good, *expected, *fixed;
    uint16_t *flags;
} ring_t;

DEFINE_LOAD(load_raw, double)

/* Science values and flags of row y; NaN where there is no value. */
INLINE void science_row(const light_t *t, long y, double *restrict value, uint16_t *restrict flags)
{
    long nx = t->nx, first = y * nx;
    double pedestal = t->pedestal ? t->pedestal[y] : 0.0, zero = t->raw.zero, saturation = t->raw.saturation, gain = t->gain;
    load_raw(&t->raw, y * t->raw_stride, nx, value);
    for (long x = 0; x < nx; x++) {
        value[x] += zero;
        flags[x] = value[x] >= saturation ? FLAG_SATURATED : 0;
        value[x] -= pedestal;
    }
    for (int m = 0; m < t->n_masks; m++)
        for (long x = 0; x < nx; x++)
            flags[x] |= t->mask_in[m][first + x];
    if (t->bias)
        for (long x = 0; x < nx; x++)
            value[x] -= (double)t->bias[first + x];
    if (t->dark) {
        double factor = t->dark_factor;
        for (long x = 0; x < nx; x++)
            value[x] -= factor * (double)t->dark[first + x];
    }
    for (long x = 0; x < nx; x++)
        value[x] *= gain;
    if (t->flat) {
        const float *restrict flat = t->flat + first;
        for (long x = 0; x < nx; x++) {
            int fine = flat[x] > 0.0f && flat[x] <= (float)LARGEST;
            value[x] = fine ? value[x] / (double)flat[x] : NAN;
            flags[x] |= fine ? 0 : FLAG_BAD_FLAT;
        }
    }
    for (long x = 0; x < nx; x++) {
        int fine = value[x] <= LARGEST && value[x] >= -LARGEST;
        flags[x] |= fine ? 0 : FLAG_NO_DATA;
        value[x] = fine ? value[x] : NAN;
    }
}

/* Sums over [x - half, x + half] of good values and of their number; padded and good have half zeros at both ends. */
INLINE void row_sums(long nx, long half, const double *restrict padded, const double *restrict good, double *restrict sum, double *restrict count)
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
    double *restrict value = r->value + slot;
    science_row(t, y, value, r->flags);
    for (long x = 0; x < nx; x++) {
        int good = r->flags[x] == 0;
        r->padded[half + x] = good ? value[x] : 0.0;
        r->good[half + x] = good ? 1.0 : 0.0;
    }
    row_sums(nx, half, r->padded, r->good, r->sum + slot, r->count + slot);
    if (!ours)
        return;
    for (long x = 0; x < nx; x++)
        t->science[y * nx + x] = (float)value[x];
    memcpy(t->mask + y * nx, r->flags, (size_t)nx * sizeof(uint16_t));
}

/* Variance of row y that does not depend on the light, in e^2 before the flat. */
INLINE void fixed_row(const light_t *t, long y, double *restrict fixed)
{
    long nx = t->nx, first = y * nx;
    double read = t->read_variance, gain2 = t->gain * t->gain, thermal = t->gain * t->dark_factor;
    double share = t->bias_share * gain2, dark2 = t->dark_factor * t->dark_factor * gain2;
    for (long x = 0; x < nx; x++)
        fixed[x] = read;
    if (t->dark && t->photons)
        for (long x = 0; x < nx; x++)
            fixed[x] += thermal * ((double)t->dark[first + x] - (t->dark_zero ? (double)t->dark_zero[first + x] : 0.0));
    if (t->bias_sigma)
        for (long x = 0; x < nx; x++)
            fixed[x] += share * ((double)t->bias_sigma[first + x] * (double)t->bias_sigma[first + x]);
    if (t->dark_sigma)
        for (long x = 0; x < nx; x++)
            fixed[x] += dark2 * ((double)t->dark_sigma[first + x] * (double)t->dark_sigma[first + x]);
}

/* Uncertainty of row y: the expected value is the box's mean, or the pixel's own where that is far from the mean. */
INLINE void sigma_row(const light_t *t, long y, const ring_t *r, const double *restrict value)
{
    long nx = t->nx, first = y * nx;
    const double *restrict fixed = r->fixed, *restrict mean = r->expected;
    double own2 = t->own_sigma2, least = t->least, light = t->photons ? 1.0 : 0.0;
    for (long x = 0; x < nx; x++) {
        double f = t->flat ? (double)t->flat[first + x] : 1.0, f2 = f * f, m = mean[x];
        double lowest = least * fixed[x], variance = fixed[x] + light * (f * m), difference = value[x] - m;
        variance = variance > lowest ? variance : lowest;
        int own = difference * difference * f2 > own2 * variance;
        m = own ? value[x] : m;
        double again = fixed[x] + light * (f * m);
        again = again > lowest ? again : lowest;
        variance = again / f2;
        if (t->flat_sigma) {
            double part = m * (double)t->flat_sigma[first + x] / f;
            variance += part * part;
        }
        t->sigma[first + x] = value[x] == value[x] ? (float)sqrt(variance) : NAN;
    }
}

INLINE void finish_row(const light_t *t, long y, ring_t *r)
{
    long nx = t->nx, half = t->half, side = 2 * half + 1;
    double *restrict total = r->padded + half, *restrict n = r->good + half; /* used again: their row has been summed */
    for (long x = 0; x < nx; x++)
        total[x] = n[x] = 0.0;
    for (long row = y - half < 0 ? 0 : y - half; row <= y + half && row < t->ny; row++) {
        const double *restrict sum = r->sum + (row % side) * nx, *restrict count = r->count + (row % side) * nx;
        for (long x = 0; x < nx; x++) {
            total[x] += sum[x];
            n[x] += count[x];
        }
    }
    const double *restrict value = r->value + (y % side) * nx;
    for (long x = 0; x < nx; x++)
        r->expected[x] = n[x] > 0.0 ? total[x] / n[x] : value[x];
    fixed_row(t, y, r->fixed);
    sigma_row(t, y, r, value);
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
    long nx = t->nx, half = t->half, side = 2 * half + 1, padded = nx + 2 * half;
    size_t doubles = (size_t)(3 * side * nx + 2 * padded + 2 * nx);
    double *d = calloc(doubles + (size_t)nx / 4 + 1, sizeof(double));
    if (!d)
        return -1;
    double *rest = d + 3 * side * nx + 2 * padded;
    ring_t ring = {d, d + side * nx, d + 2 * side * nx, d + 3 * side * nx, d + 3 * side * nx + padded, rest, rest + nx,
                   (uint16_t *)(d + doubles)};
    run_rows(t, y0, y1, &ring);
    free(d);
    return 0;
}

PUBLIC int nightcrew_light_size(void) { return (int)sizeof(light_t); }
