/* Calibrated values of one frame, and order statistics of many values. */
#include "common.h"
#include "physical.h"

#define BINS 65536

/* Values of pixels [start, start + n) as float32, NaN where masked (physical of fallback.py). */
PUBLIC void nightcrew_values(const frame_t *f, long start, long n, float *out)
{
    enum { BLOCK = 1024 };
    double work[BLOCK];
    for (long at = 0; at < n; at += BLOCK) {
        long m = n - at < BLOCK ? n - at : BLOCK;
        if (f->plain) {
            float zero = (float)f->zero;
            load_f32(f, start + at, m, out + at);
            for (long k = 0; k < m; k++)
                out[at + k] += zero;
        } else {
            load_physical(f, start + at, m, work);
            for (long k = 0; k < m; k++)
                out[at + k] = (float)work[k] + 0.0f;
        }
    }
}

/* Integers in the order of the floats. */
INLINE uint32_t key_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

INLINE float value_of(uint32_t key)
{
    uint32_t bits = key & 0x80000000u ? key & 0x7fffffffu : ~key;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The bin that holds a rank; the rank becomes one within the bin. */
static uint32_t find_bin(const int64_t *count, int64_t *rank)
{
    uint32_t bin = 0;
    while (*rank >= count[bin])
        *rank -= count[bin++];
    return bin;
}

/* The values of two ranks (rank[0] <= rank[1] < n) among n values without NaN, by their upper and then their lower 16 bits.
 * Returns 0, or -1 when there is no memory. */
PUBLIC int nightcrew_select(const float *values, long n, const int64_t *ranks, float *out)
{
    enum { COPIES = 4 }; /* neighbours often fall into one bin: counting them apart does not wait for the last count */
    uint32_t *counts = calloc(COPIES * BINS, sizeof *counts);
    int64_t *total = malloc(BINS * sizeof *total);
    if (!counts || !total) {
        free(counts);
        free(total);
        return -1;
    }
    for (long k = 0; k < n; k++)
        counts[(k % COPIES) * BINS + (key_of(values[k]) >> 16)]++;
    for (int b = 0; b < BINS; b++)
        total[b] = (int64_t)counts[b] + counts[BINS + b] + counts[2 * BINS + b] + counts[3 * BINS + b];
    int64_t rank[2] = {ranks[0], ranks[1]};
    uint32_t upper[2];
    for (int r = 0; r < 2; r++)
        upper[r] = find_bin(total, &rank[r]);
    for (int r = 0; r < 2; r++) {
        if (r == 0 || upper[1] != upper[0]) {
            memset(counts, 0, BINS * sizeof *counts);
            for (long k = 0; k < n; k++) {
                uint32_t key = key_of(values[k]);
                if (key >> 16 == upper[r])
                    counts[key & 0xffffu]++;
            }
            for (int b = 0; b < BINS; b++)
                total[b] = counts[b];
        }
        out[r] = value_of(upper[r] << 16 | find_bin(total, &rank[r]));
    }
    free(counts);
    free(total);
    return 0;
}
