/* Bilinear affine resampling of an image, its mask and its variance.  Operation by operation as resample.py's numpy. */
#include "common.h"

typedef struct {
    const float *image, *sigma; /* sigma and mask may be NULL */
    const uint16_t *mask;
    float *image_out, *sigma_out;
    uint16_t *mask_out;
    int64_t ny, nx, first_row, out_nx, out_first_row; /* ny x nx of the whole frame; image begins at first_row */
    double back[6];                                   /* x = b0 X + b1 Y + b2, y = b3 X + b4 Y + b5 of output pixel X, Y */
    int32_t outside, noise;                           /* flag where nothing is covered; noise: sum w^2 V, not sum w V */
} resample_t;

/* Positions closer than this to a whole pixel are on it: a shift by whole pixels copies. */
#define SNAP 1e-6
#define RUN 64

/* Where the pixels of a run come from: the first of four frame pixels, steps to the others, fractions. */
typedef struct {
    double fr[RUN], fc[RUN];
    int64_t at[RUN], down[RUN], right[RUN]; /* at: -1 outside the frame */
    int all_inside, contiguous, between; /* between: every pixel lies between frame pixels in both directions */
} places_t;

INLINE void find_places(const resample_t *t, double row0, double column0, long x0, long n, places_t *p)
{
    double per_row = t->back[3], per_column = t->back[0], last_row = (double)(t->ny - 1), last_column = (double)(t->nx - 1);
    double whole[RUN], first = (double)t->first_row, width = (double)t->nx;
    int64_t inside = 0, contiguous = 0, between = 0;
    for (long k = 0; k < n; k++) { /* floats and integers in loops of their own: such loops become vector code */
        double row = per_row * (double)(x0 + k) + row0, column = per_column * (double)(x0 + k) + column0;
        double whole_row = floor(row + SNAP), whole_column = floor(column + SNAP);
        double fr = row - whole_row, fc = column - whole_column;
        fr = fr < SNAP ? 0.0 : fr;
        fc = fc < SNAP ? 0.0 : fc;
        double end_row = whole_row + (fr > 0.0 ? 1.0 : 0.0), end_column = whole_column + (fc > 0.0 ? 1.0 : 0.0);
        double at = (whole_row - first) * width + whole_column;
        at = whole_row < 0.0 ? -1.0 : at;
        at = whole_column < 0.0 ? -1.0 : at;
        at = end_row > last_row ? -1.0 : at;
        whole[k] = end_column > last_column ? -1.0 : at;
        p->fr[k] = fr;
        p->fc[k] = fc;
    }
    for (long k = 0; k < n; k++) {
        p->at[k] = (int64_t)whole[k];
        p->down[k] = p->fr[k] > 0.0 ? t->nx : 0;
        p->right[k] = p->fc[k] > 0.0 ? 1 : 0;
    }
    for (long k = 0; k < n; k++) {
        inside += p->at[k] >= 0;
        contiguous += p->at[k] == p->at[0] + k;
        between += (p->down[k] != 0) & (p->right[k] != 0);
    }
    p->all_inside = inside == n;
    p->contiguous = contiguous == n;
    p->between = between == n;
}

INLINE float mixed(double fr, double fc, double a, double b, double c, double d)
{
    return (float)((1.0 - fr) * (1.0 - fc) * a + (1.0 - fr) * fc * b + fr * (1.0 - fc) * c + fr * fc * d);
}

INLINE float mixed_sigma(double fr, double fc, int noise, double a, double b, double c, double d)
{
    double wa = (1.0 - fr) * (1.0 - fc), wb = (1.0 - fr) * fc, wc = fr * (1.0 - fc), wd = fr * fc;
    if (noise) {
        wa *= wa;
        wb *= wb;
        wc *= wc;
        wd *= wd;
    }
    return (float)sqrt(wa * (a * a) + wb * (b * b) + wc * (c * c) + wd * (d * d));
}

/* A run that lies in two neighbouring rows of the frame, pixel beside pixel. */
INLINE void contiguous_run(const resample_t *t, const places_t *p, long out, long n)
{
    long at = p->at[0], nx = t->nx;
    const float *restrict i0 = t->image + at, *restrict i1 = i0 + nx;
    for (long k = 0; k < n; k++)
        t->image_out[out + k] = mixed(p->fr[k], p->fc[k], i0[k], i0[k + 1], i1[k], i1[k + 1]);
    if (t->mask)
        for (long k = 0; k < n; k++)
            t->mask_out[out + k] = t->mask[at + k] | t->mask[at + k + 1] | t->mask[at + nx + k] | t->mask[at + nx + k + 1];
    if (t->sigma) {
        const float *restrict s0 = t->sigma + at, *restrict s1 = s0 + nx;
        int noise = t->noise;
        for (long k = 0; k < n; k++)
            t->sigma_out[out + k] = mixed_sigma(p->fr[k], p->fc[k], noise, s0[k], s0[k + 1], s1[k], s1[k + 1]);
    }
}

INLINE void one_pixel(const resample_t *t, const places_t *p, long out, long k)
{
    if (p->at[k] < 0) {
        t->image_out[out] = NAN;
        t->mask_out[out] = (uint16_t)t->outside;
        if (t->sigma)
            t->sigma_out[out] = NAN;
        return;
    }
    long a = p->at[k], b = a + p->right[k], c = a + p->down[k], d = c + p->right[k];
    t->image_out[out] = mixed(p->fr[k], p->fc[k], t->image[a], t->image[b], t->image[c], t->image[d]);
    if (t->mask)
        t->mask_out[out] = t->mask[a] | t->mask[b] | t->mask[c] | t->mask[d];
    if (t->sigma)
        t->sigma_out[out] = mixed_sigma(p->fr[k], p->fc[k], t->noise, t->sigma[a], t->sigma[b], t->sigma[c], t->sigma[d]);
}

static void run_rows(const resample_t *t, long n_rows)
{
    const double *b = t->back;
    places_t places;
    if (!t->mask)
        memset(t->mask_out, 0, (size_t)(n_rows * t->out_nx) * sizeof(uint16_t));
    for (long i = 0; i < n_rows; i++) {
        double Y = (double)(t->out_first_row + i), column0 = b[1] * Y + b[2], row0 = b[4] * Y + b[5];
        for (long x0 = 0; x0 < t->out_nx; x0 += RUN) {
            long n = t->out_nx - x0 < RUN ? t->out_nx - x0 : RUN, out = i * t->out_nx + x0;
            find_places(t, row0, column0, x0, n, &places);
            if (places.all_inside && places.contiguous && places.between)
                contiguous_run(t, &places, out, n);
            else
                for (long k = 0; k < n; k++)
                    one_pixel(t, &places, out + k, k);
        }
    }
}

PUBLIC void nightcrew_resample(const resample_t *t, long n_rows) { run_rows(t, n_rows); }
PUBLIC int nightcrew_resample_size(void) { return (int)sizeof(resample_t); }
