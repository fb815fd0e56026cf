/* Linear least squares of every pixel's values over the frames, with one design for all pixels.
 *
 * basis [frame][term] is orthonormal (the Q of the weighted design), back [term][term] its inverse R: coefficients are
 * back q with q = sum over frames of basis times weighted value.  Operation by operation as pixel_fits_fallback.py. */
#include "common.h"
#include "physical.h"
#include "slab.h"

enum { MAX_TERMS = 6, BLOCK = 1024 };

typedef struct {
    int32_t n_frames, n_terms, known_errors, unused;
    const double *basis, *weight, *back, *error; /* error [term]: of a coefficient for residuals of scatter 1 */
    float *coefficient[MAX_TERMS], *sigma[MAX_TERMS], *scatter; /* sigma and scatter may be NULL */
    uint16_t *count;
} fit_t;

/* Whether every value of a frame is good: integers that nothing is done to. */
INLINE int always_good(const frame_t *f) { return f->plain && f->kind < KIND_F32; }

/* Weighted values of pixels [start, start + n) of frame i; counts the good ones where good is given. */
INLINE void load_row(const fit_t *t, const frame_t *f, int i, long start, long n, double *restrict row, int32_t *restrict good)
{
    double weight = t->weight[i];
    prefetch(f, start + BLOCK, BLOCK);
    load_physical(f, start, n, row);
    if (good && !always_good(f))
        for (long k = 0; k < n; k++)
            good[k] -= !(fabs(row[k]) <= 1.7976931348623157e308);
    if (weight != 1.0)
        for (long k = 0; k < n; k++)
            row[k] *= weight;
}

/* q += basis of frame i times its values. */
INLINE void add_row(const fit_t *t, int i, const double *restrict row, double *restrict q, int terms)
{
    const double *restrict basis = t->basis + (long)i * terms;
    if (terms == 2) { /* a line: both sums in one turn */
        double b0 = basis[0], b1 = basis[1];
        double *restrict q0 = q, *restrict q1 = q + BLOCK;
        for (long k = 0; k < BLOCK; k++) {
            q0[k] += b0 * row[k];
            q1[k] += b1 * row[k];
        }
        return;
    }
    for (int j = 0; j < terms; j++)
        for (long k = 0; k < BLOCK; k++)
            q[(long)j * BLOCK + k] += basis[j] * row[k];
}

/* rss += square of what the fit leaves of frame i. */
INLINE void add_residual(const fit_t *t, int i, const double *restrict row, const double *restrict q, double *restrict rss, int terms)
{
    const double *restrict basis = t->basis + (long)i * terms;
    if (terms == 2) {
        double b0 = basis[0], b1 = basis[1];
        const double *restrict q0 = q, *restrict q1 = q + BLOCK;
        for (long k = 0; k < BLOCK; k++) {
            double left = row[k] - b0 * q0[k] - b1 * q1[k];
            rss[k] += left * left;
        }
        return;
    }
    double left[BLOCK];
    for (long k = 0; k < BLOCK; k++)
        left[k] = row[k];
    for (int j = 0; j < terms; j++)
        for (long k = 0; k < BLOCK; k++)
            left[k] -= basis[j] * q[(long)j * BLOCK + k];
    for (long k = 0; k < BLOCK; k++)
        rss[k] += left[k] * left[k];
}

/* Raw 16-bit numbers that nothing is done to, by far the most common case, without a row in between: V is their value. */
#define WITH_RAW_16(V, ...)                                                                                  \
    do {                                                                                                     \
        const uint16_t *restrict from = (const uint16_t *)f->data + start;                                   \
        uint16_t flip = f->kind == KIND_I16 ? 0x8000 : 0;                                                    \
        double zero = f->zero - (flip ? 32768.0 : 0.0), weight = t->weight[i];                               \
        if (f->swapped)                                                                                      \
            for (long k = 0; k < n; k++) {                                                                   \
                double V = ((double)(int32_t)(__builtin_bswap16(from[k]) ^ flip) + zero) * weight;           \
                __VA_ARGS__                                                                                  \
            }                                                                                                \
        else                                                                                                 \
            for (long k = 0; k < n; k++) {                                                                   \
                double V = ((double)(int32_t)(from[k] ^ flip) + zero) * weight;                              \
                __VA_ARGS__                                                                                  \
            }                                                                                                \
    } while (0)

/* A block of raw 16-bit frames and a line: sums and, where wanted, residuals. */
INLINE void line_of_raw_16(const fit_t *t, const frame_t *frames, long start, long n, double *restrict q0, double *restrict q1, double *restrict rss)
{
    for (int i = 0; i < t->n_frames; i++) {
        const frame_t *f = &frames[i];
        double b0 = t->basis[2 * i], b1 = t->basis[2 * i + 1];
        prefetch(f, start + BLOCK, BLOCK);
        WITH_RAW_16(v, q0[k] += b0 * v; q1[k] += b1 * v;);
    }
    for (int i = 0; rss && i < t->n_frames; i++) {
        const frame_t *f = &frames[i];
        double b0 = t->basis[2 * i], b1 = t->basis[2 * i + 1];
        WITH_RAW_16(v, double left = v - b0 * q0[k] - b1 * q1[k]; rss[k] += left * left;);
    }
}

INLINE int all_raw_16(const frame_t *frames, int n)
{
    int all = 1;
    for (int i = 0; i < n; i++)
        all = all && frames[i].plain && (frames[i].kind == KIND_U16 || frames[i].kind == KIND_I16);
    return all;
}

/* The frames are gone through once for q and, where rss is wanted, once more for the residuals: loading again from the slab, which
 * is in the cache, is cheaper than keeping all values as float64. */
INLINE void fit_block(const fit_t *t, const frame_t *frames, long start, long n, double *restrict row, double *restrict q, double *restrict rss,
                      int32_t *restrict good)
{
    int terms = t->n_terms;
    for (long k = 0; k < terms * BLOCK; k++)
        q[k] = 0.0;
    for (long k = 0; k < BLOCK; k++)
        good[k] = t->n_frames;
    for (long k = 0; rss && k < BLOCK; k++)
        rss[k] = 0.0;
    if (terms == 2 && all_raw_16(frames, t->n_frames)) {
        line_of_raw_16(t, frames, start, n, q, q + BLOCK, rss);
        return;
    }
    for (int i = 0; i < t->n_frames; i++) {
        load_row(t, &frames[i], i, start, n, row, good);
        add_row(t, i, row, q, terms);
    }
    if (!rss)
        return;
    for (int i = 0; i < t->n_frames; i++) {
        load_row(t, &frames[i], i, start, n, row, NULL);
        add_residual(t, i, row, q, rss, terms);
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
    return (size_t)(t->n_terms + 2) * ROUNDED(BLOCK * sizeof(double));
}

static void fit_pixels(const frame_t *frames, const fit_t *t, long out, long n_pixels, char *scratch)
{
    int errors = t->sigma[0] != NULL || t->scatter != NULL;
    double *row = (double *)scratch, *q = row + BLOCK, *rss = errors ? q + (long)t->n_terms * BLOCK : NULL;
    int32_t good[BLOCK];
    for (long start = 0; start < n_pixels; start += BLOCK) {
        long n = n_pixels - start < BLOCK ? n_pixels - start : BLOCK;
        fit_block(t, frames, start, n, row, q, rss, good);
        write_block(t, out + start, n, q, rss, good);
    }
}

/* Bytes of scratch that the function below needs; the address must be a multiple of 64. */
PUBLIC int64_t nightcrew_fit_room(const frame_t *frames, const fit_t *t, long most_rows, long nx)
{
    return (int64_t)(fit_room(t) + slab_room(frames, t->n_frames, most_rows, nx));
}

/* Rows [y0, y1), step at a time; frames' pointers are to row 0, the planes of t to row y0.  Results as nightcrew_combine_images. */
PUBLIC int nightcrew_fit_images(const frame_t *frames, const fit_t *t, long y0, long y1, long nx, long step, char *scratch)
{
    int failed = 0;
    slab_t slab = slab_make(frames, t->n_frames, step, nx, &scratch);
    memset(scratch, 0, fit_room(t));
    for (long y = y0; y < y1 && !failed; y += step) {
        long rows = y1 - y < step ? y1 - y : step;
        failed = slab_read(&slab, frames, t->n_frames, y, rows);
        if (!failed)
            fit_pixels(slab.part, t, (y - y0) * nx, rows * nx, scratch);
    }
    return failed;
}

PUBLIC int nightcrew_fit_size(void) { return (int)sizeof(fit_t); }
