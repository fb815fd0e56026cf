/* Linear least squares of every pixel's values over the frames, with one design for all pixels.
 *
 * basis [frame][term] is orthonormal (the Q of the weighted design), back [term][term] its inverse R: coefficients are
 * back q with q = sum over frames of basis times weighted value.  Operation by operation as pixel_fits_fallback.py. */
#include "common.h"
#include "physical.h"
#include "slab.h"

enum { MAX_TERMS = 6, BLOCK = 256 };

typedef struct {
    int32_t n_frames, n_terms, known_errors, unused;
    const double *basis, *weight, *back, *error; /* error [term]: of a coefficient for residuals of scatter 1 */
    float *coefficient[MAX_TERMS], *sigma[MAX_TERMS], *scatter; /* sigma and scatter may be NULL */
    uint16_t *count;
} fit_t;

/* Weighted values of one block; counts the good ones. */
INLINE void load_values(const fit_t *t, const frame_t *frames, long start, long n, double *restrict values, int32_t *restrict good)
{
    for (long k = 0; k < BLOCK; k++)
        good[k] = 0;
    for (int i = 0; i < t->n_frames; i++) {
        double *restrict row = values + (long)i * BLOCK, weight = t->weight[i];
        load_physical(&frames[i], start, n, row);
        for (long k = 0; k < n; k++) {
            good[k] += row[k] <= 1.7976931348623157e308 && row[k] >= -1.7976931348623157e308;
            row[k] = row[k] * weight;
        }
    }
}

INLINE void fit_block(const fit_t *t, const double *restrict values, double *restrict q, double *restrict rss)
{
    int terms = t->n_terms;
    for (long k = 0; k < terms * BLOCK; k++)
        q[k] = 0.0;
    for (int i = 0; i < t->n_frames; i++) {
        const double *restrict row = values + (long)i * BLOCK;
        for (int j = 0; j < terms; j++) {
            double b = t->basis[i * terms + j];
            double *restrict qj = q + (long)j * BLOCK;
            for (long k = 0; k < BLOCK; k++)
                qj[k] += b * row[k];
        }
    }
    if (!rss)
        return;
    for (long k = 0; k < BLOCK; k++)
        rss[k] = 0.0;
    for (int i = 0; i < t->n_frames; i++) {
        const double *restrict row = values + (long)i * BLOCK;
        double left[BLOCK];
        for (long k = 0; k < BLOCK; k++)
            left[k] = row[k];
        for (int j = 0; j < terms; j++) {
            double b = t->basis[i * terms + j];
            const double *restrict qj = q + (long)j * BLOCK;
            for (long k = 0; k < BLOCK; k++)
                left[k] -= b * qj[k];
        }
        for (long k = 0; k < BLOCK; k++)
            rss[k] += left[k] * left[k];
    }
}

INLINE void write_block(const fit_t *t, long out, long n, const double *restrict q, const double *restrict rss, const int32_t *restrict good)
{
    int terms = t->n_terms, n_frames = t->n_frames;
    double freedom = n_frames - terms;
    for (long k = 0; k < n; k++)
        t->count[out + k] = (uint16_t)good[k];
    for (int j = 0; j < terms; j++) {
        double c[BLOCK] = {0.0};
        for (int m = j; m < terms; m++) { /* back is upper triangular */
            double b = t->back[j * terms + m];
            const double *restrict qm = q + (long)m * BLOCK;
            for (long k = 0; k < BLOCK; k++)
                c[k] += b * qm[k];
        }
        for (long k = 0; k < n; k++)
            t->coefficient[j][out + k] = good[k] == n_frames ? (float)c[k] : NAN;
    }
    if (!rss)
        return;
    for (long k = 0; k < n; k++) {
        double scatter = good[k] == n_frames && freedom > 0.0 ? sqrt(rss[k] / freedom) : NAN;
        if (t->scatter)
            t->scatter[out + k] = (float)scatter;
        for (int j = 0; j < terms && t->sigma[0]; j++)
            t->sigma[j][out + k] = t->known_errors ? (good[k] == n_frames ? (float)t->error[j] : NAN) : (float)(t->error[j] * scatter);
    }
}

static size_t fit_room(const fit_t *t)
{
    return (size_t)(t->n_frames + t->n_terms + 1) * ROUNDED(BLOCK * sizeof(double));
}

static void fit_pixels(const frame_t *frames, const fit_t *t, long out, long n_pixels, char *scratch)
{
    int errors = t->sigma[0] != NULL || t->scatter != NULL;
    double *values = (double *)scratch, *q = values + (long)t->n_frames * BLOCK, *rss = errors ? q + (long)t->n_terms * BLOCK : NULL;
    int32_t good[BLOCK];
    for (long start = 0; start < n_pixels; start += BLOCK) {
        long n = n_pixels - start < BLOCK ? n_pixels - start : BLOCK;
        load_values(t, frames, start, n, values, good);
        fit_block(t, values, q, rss);
        write_block(t, out + start, n, q, rss, good);
    }
}

/* Bytes of scratch that the function below needs; the address must be a multiple of 64. */
PUBLIC int64_t nightcrew_fit_room(const frame_t *frames, const fit_t *t, long largest)
{
    return (int64_t)(fit_room(t) + slab_room(frames, t->n_frames, largest));
}

/* Rows [y0, y1), step at a time; frames' pointers are to row 0, the planes of t to row y0.  Results as nightcrew_combine_images. */
PUBLIC int nightcrew_fit_images(const frame_t *frames, const fit_t *t, long y0, long y1, long nx, long step, char *scratch)
{
    int failed = 0;
    slab_t slab = slab_make(frames, t->n_frames, step * nx, &scratch);
    memset(scratch, 0, fit_room(t));
    for (long y = y0; y < y1 && !failed; y += step) {
        long size = (y1 - y < step ? y1 - y : step) * nx;
        failed = slab_read(&slab, frames, t->n_frames, y * nx, size);
        if (!failed)
            fit_pixels(slab.part, t, (y - y0) * nx, size, scratch);
    }
    return failed;
}

PUBLIC int nightcrew_fit_size(void) { return (int)sizeof(fit_t); }
