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
    float *padded, *good, *expected, *fixed, *total, *n;
    double *work;
    int32_t *full;
    uint16_t *flags;
} ring_t;

DEFINE_LOAD(load_raw, double)

/* OR of all masks of row y. */
INLINE void masks_row(const light_t *t, long first, uint16_t *restrict flags)
{
    long nx = t->nx, m = 3;
    const uint16_t *const *in = t->mask_in;
    if (t->n_masks >= 3) { /* bias, dark and flat have one each: one pass */
        const uint16_t *restrict a = in[0] + first, *restrict b = in[1] + first, *restrict c = in[2] + first;
        for (long x = 0; x < nx; x++)
            flags[x] = a[x] | b[x] | c[x];
    } else {
        memset(flags, 0, (size_t)nx * sizeof *flags);
        m = 0;
    }
    for (; m < t->n_masks; m++) {
        const uint16_t *restrict mask = in[m] + first;
        for (long x = 0; x < nx; x++)
            flags[x] |= mask[x];
    }
}

/* Raw numbers to electrons before the flat.  Differences in float64, then float32.  Which planes there are is known where this is inlined. */
INLINE void differences(const light_t *t, double pedestal, const double *restrict work, const float *restrict bias, const float *restrict dark,
                        float *restrict value, int32_t *restrict full)
{
    double zero = t->raw.zero, saturation = t->raw.saturation, gain = t->gain, factor = t->dark_factor;
    for (long x = 0; x < t->nx; x++) {
        double w = work[x] + zero;
        full[x] = w >= saturation ? FLAG_SATURATED : 0;
        w -= pedestal;
        if (bias)
            w -= (double)bias[x];
        if (dark)
            w -= factor * (double)dark[x];
        value[x] = (float)(w * gain);
    }
}

/* Divide by the flat, complete the flags, and put what is good into the rows that are summed next. */
INLINE void flat_row(long nx, const float *restrict flat, const int32_t *restrict full, float *restrict value, uint16_t *restrict flags,
                     float *restrict padded, float *restrict good)
{
    for (long x = 0; x < nx; x++) {
        float v = value[x];
        int32_t bits = flags[x] | full[x];
        if (flat) {
            int fine = (flat[x] > 0.0f) & (flat[x] <= LARGEST);
            float divided = v / flat[x];
            v = fine ? divided : NAN;
            bits |= fine ? 0 : FLAG_BAD_FLAT;
        }
        int fine = fabsf(v) <= LARGEST;
        bits |= fine ? 0 : FLAG_NO_DATA;
        v = fine ? v : NAN;
        value[x] = v;
        flags[x] = (uint16_t)bits;
        padded[x] = bits == 0 ? v : 0.0f;
        good[x] = bits == 0 ? 1.0f : 0.0f;
    }
}

/* Science values and flags of row y; NaN where there is no value. */
INLINE void science_row(const light_t *t, long y, ring_t *r, float *restrict value)
{
    long nx = t->nx, first = y * nx;
    double pedestal = t->pedestal ? t->pedestal[y] : 0.0;
    const float *bias = t->bias ? t->bias + first : NULL, *dark = t->dark ? t->dark + first : NULL;
    load_raw(&t->raw, (y - t->first_raw) * t->raw_stride, nx, r->work);
    masks_row(t, first, r->flags);
    if (bias && dark)
        differences(t, pedestal, r->work, bias, dark, value, r->full);
    else if (bias)
        differences(t, pedestal, r->work, bias, NULL, value, r->full);
    else if (dark)
        differences(t, pedestal, r->work, NULL, dark, value, r->full);
    else
        differences(t, pedestal, r->work, NULL, NULL, value, r->full);
    float *padded = r->padded + t->half, *good = r->good + t->half;
    if (t->flat)
        flat_row(nx, t->flat + first, r->full, value, r->flags, padded, good);
    else
        flat_row(nx, NULL, r->full, value, r->flags, padded, good);
}

/* Sums over [x - half, x + half]; in has half zeros at both ends. */
INLINE void row_sum(long nx, long half, const float *restrict in, float *restrict sum)
{
    if (half == 2) { /* the usual box: the same additions in the same order, in one pass */
        for (long x = 0; x < nx; x++)
            sum[x] = in[x] + in[x + 1] + in[x + 2] + in[x + 3] + in[x + 4];
        return;
    }
    memcpy(sum, in, (size_t)nx * sizeof *sum);
    for (long d = 1; d <= 2 * half; d++)
        for (long x = 0; x < nx; x++)
            sum[x] += in[x + d];
}

/* Ask for the masters' rows that come next: there are more of them than the processor follows by itself. */
INLINE void prefetch_rows(const light_t *t, long y)
{
    const float *planes[] = {t->bias, t->dark, t->flat, t->bias_sigma, t->dark_sigma, t->dark_zero, t->flat_sigma};
    long nx = t->nx;
    for (int k = 0; k < 7 && y < t->ny; k++)
        prefetch_bytes(planes[k] ? planes[k] + y * nx : NULL, nx * (long)sizeof(float));
    for (int m = 0; m < t->n_masks && y < t->ny; m++)
        prefetch_bytes(t->mask_in[m] + y * nx, nx * (long)sizeof(uint16_t));
}

/* Read row y into the ring, and write science and mask if it is one of ours. */
INLINE void take_row(const light_t *t, long y, int ours, ring_t *r)
{
    long nx = t->nx, half = t->half, slot = (y % (2 * half + 1)) * nx;
    float *restrict value = r->value + slot;
    prefetch_rows(t, y + 1);
    science_row(t, y, r, value);
    row_sum(nx, half, r->padded, r->sum + slot);
    row_sum(nx, half, r->good, r->count + slot);
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

/* Mean over the rows of the box, and the value itself where none of it is good. */
INLINE void mean_row(const light_t *t, long y, ring_t *r, const float *restrict value)
{
    long nx = t->nx, half = t->half, side = 2 * half + 1;
    float *restrict total = r->total, *restrict n = r->n;
    for (long x = 0; x < nx; x++)
        total[x] = n[x] = 0.0f;
    for (long row = y - half < 0 ? 0 : y - half; row <= y + half && row < t->ny; row++) {
        const float *restrict sum = r->sum + (row % side) * nx, *restrict count = r->count + (row % side) * nx;
        for (long x = 0; x < nx; x++) {
            total[x] += sum[x];
            n[x] += count[x];
        }
    }
    for (long x = 0; x < nx; x++) {
        float mean = total[x] / n[x];
        r->expected[x] = n[x] > 0.0f ? mean : value[x];
    }
}

/* Rows y - 2 to y + 2 of a ring of five. */
INLINE void five_rows(const float *ring, long y, long nx, const float **a, const float **b, const float **c, const float **d, const float **e)
{
    *a = ring + (y - 2) % 5 * nx;
    *b = ring + (y - 1) % 5 * nx;
    *c = ring + y % 5 * nx;
    *d = ring + (y + 1) % 5 * nx;
    *e = ring + (y + 2) % 5 * nx;
}

/* The same of the usual box where all its rows are there, in one pass. */
INLINE void mean_of_five(const light_t *t, long y, ring_t *r, const float *restrict value)
{
    long nx = t->nx;
    const float *s0, *s1, *s2, *s3, *s4, *c0, *c1, *c2, *c3, *c4;
    float *expected = r->expected;
    five_rows(r->sum, y, nx, &s0, &s1, &s2, &s3, &s4);
    five_rows(r->count, y, nx, &c0, &c1, &c2, &c3, &c4);
#pragma GCC ivdep /* expected is none of the others */
    for (long x = 0; x < nx; x++) {
        float total = 0.0f + s0[x] + s1[x] + s2[x] + s3[x] + s4[x], n = c0[x] + c1[x] + c2[x] + c3[x] + c4[x];
        float mean = total / n;
        expected[x] = n > 0.0f ? mean : value[x];
    }
}

INLINE void finish_row(const light_t *t, long y, ring_t *r)
{
    long nx = t->nx, half = t->half, side = 2 * half + 1;
    const float *restrict value = r->value + (y % side) * nx;
    if (half == 2 && y >= 2 && y + 2 < t->ny)
        mean_of_five(t, y, r, value);
    else
        mean_row(t, y, r, value);
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
    size_t room = 3 * floats + 7 * wide + ROUNDED(nx * sizeof(double)) + ROUNDED(nx * sizeof(uint16_t));
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
    ring.total = carve(&at, wide);
    ring.n = carve(&at, wide);
    ring.full = carve(&at, wide);
    ring.work = carve(&at, nx * sizeof(double));
    ring.flags = carve(&at, nx * sizeof(uint16_t));
    run_rows(t, y0, y1, &ring);
    free(memory);
    return 0;
}

PUBLIC int nightcrew_light_size(void) { return (int)sizeof(light_t); }
