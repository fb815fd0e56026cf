/* Combine the same rows of n frames pixel by pixel.
 *
 * A block of pixels of every frame is loaded (byte order, calibration, mask), the columns are sorted by a network run
 * across the frames, clipped by moving both ends inwards, and reduced.  The sums are those of fallback.py in the same
 * order, so that results are equal to the last bit. */
#include "common.h"
#include "physical.h"
#include "slab.h"


enum { MEAN, MEDIAN, SUM, MIN, MAX, QUANTILE, STD, VAR, RMS, WEIGHTED };
enum { CLIP_NONE, CLIP_SIGMA, CLIP_DROP };
enum { BOTH, MINIMUM_ONLY, MAXIMUM_ONLY };
enum { FLAG_NO_DATA = 32, FLAG_REJECTED = 256 };

typedef struct {
    int32_t n_frames, sort, method, clip, iterations, drop_low, drop_high, needs_moments, result_f8;
    int32_t n_comparators, n_full_comparators, needs_frames; /* needs_frames: sums that know the frame of a value */
    double low2, high2, quantile, base;
    const int32_t *network;       /* i, j, what: what the result needs where every value is good */
    const int32_t *full_network;  /* sorts completely */
    const double *factors;        /* error of the result over that of the mean, by number of survivors */
    void *result, *uncertainty;
    uint16_t *count, *mask;
} task_t;

/* Per-pixel numbers of one block. */
typedef struct {
    int32_t *good, *a, *b;
    double *centre, *s1, *s2, *low, *high, *middle, *work;
    double *largest, *fraction_low, *fraction_high; /* of needs_frames: scratch, and parts of values tied with a bound */
    double *w, *wx, *w2, *w2x, *w2x2, *own;        /* its sums (FrameSums of weighted.py) */
    double *once, *twice, *x, *terms;              /* [frame][pixel] */
    void *unsorted;
    unsigned char *flag;
    int full; /* all columns have all frames good, and all have the same a and b */
} block_t;

INLINE void load_rows_i2(const frame_t *frames, int n_frames, long start, long n, long stride, int16_t *restrict s, block_t *block)
{
    for (int i = 0; i < n_frames; i++) {
        const frame_t *f = &frames[i];
        int16_t *restrict row = s + (long)i * stride;
        if (f->kind == KIND_U8 || f->kind == KIND_I8) {
            const uint8_t *from = (const uint8_t *)f->data + start;
            for (long k = 0; k < n; k++)
                row[k] = f->kind == KIND_U8 ? (int16_t)from[k] : (int16_t)(int8_t)from[k];
            continue;
        }
        const uint16_t *restrict from = (const uint16_t *)f->data + start;
        /* unsigned numbers lose 32768 (their base); stored with BZERO 32768 they have lost it already */
        uint16_t flip = f->kind == KIND_U16 ? 0x8000 : 0;
        if (f->swapped)
            for (long k = 0; k < n; k++)
                row[k] = (int16_t)(__builtin_bswap16(from[k]) ^ flip);
        else
            for (long k = 0; k < n; k++)
                row[k] = (int16_t)(from[k] ^ flip);
    }
    for (long k = 0; k < n; k++)
        block->good[k] = n_frames;
    block->full = 1;
}

/* Load floats of type T: what is not finite becomes +infinity, so that it sorts to the end. */
#define DEFINE_LOAD_ROWS(NAME, T, LOAD_PLAIN, LARGEST)                                                       \
    INLINE void NAME(const frame_t *frames, int n_frames, long start, long n, long stride, T *restrict s, block_t *block) \
    {                                                                                                        \
        int32_t *restrict good = block->good;                                                                \
        long total = 0;                                                                                      \
        for (long k = 0; k < n; k++)                                                                         \
            good[k] = 0;                                                                                     \
        for (int i = 0; i < n_frames; i++) {                                                                 \
            const frame_t *f = &frames[i];                                                                   \
            T *restrict row = s + (long)i * stride;                                                          \
            if (f->plain) {                                                                                  \
                T zero = (T)f->zero;                                                                         \
                LOAD_PLAIN(f, start, n, row);                                                                \
                for (long k = 0; k < n; k++)                                                                 \
                    row[k] += zero;                                                                          \
            } else {                                                                                         \
                load_physical(f, start, n, block->work);                                                     \
                for (long k = 0; k < n; k++)                                                                 \
                    row[k] = (T)block->work[k] + (T)0;                                                       \
            }                                                                                                \
            for (long k = 0; k < n; k++) {                                                                   \
                int fine = row[k] <= LARGEST && row[k] >= -LARGEST;                                          \
                row[k] = fine ? row[k] : (T)INFINITY;                                                        \
                good[k] += fine;                                                                             \
            }                                                                                                \
        }                                                                                                    \
        for (long k = 0; k < n; k++)                                                                         \
            total += good[k];                                                                                \
        block->full = total == n * (long)n_frames;                                                           \
    }

DEFINE_LOAD_ROWS(load_rows_f4, float, load_f32, 3.4028234663852886e38f)
DEFINE_LOAD_ROWS(load_rows_f8, double, load_f64, 1.7976931348623157e308)

/* Sum over the frames of block->terms, the same for every order of the frames (exact_sum of weighted.py). */
INLINE void exact_sum(const block_t *block, int n_frames, long stride, long n, double *restrict total)
{
    double *restrict cut = block->largest;
    int64_t doublings = 2;
    for (int left = n_frames - 1; left > 0; left >>= 1)
        doublings++;
    for (long k = 0; k < n; k++)
        total[k] = cut[k] = 0.0;
    for (int i = 0; i < n_frames; i++) {
        const double *restrict term = block->terms + i * stride;
        for (long k = 0; k < n; k++)
            cut[k] = fabs(term[k]) > cut[k] ? fabs(term[k]) : cut[k];
    }
    for (long k = 0; k < n; k++) {
        int64_t bits;
        memcpy(&bits, &cut[k], sizeof bits);
        bits = (((bits >> 52) + doublings) << 52) | ((int64_t)1 << 51);
        memcpy(&cut[k], &bits, sizeof bits);
    }
    for (int i = 0; i < n_frames; i++) {
        const double *restrict term = block->terms + i * stride;
        for (long k = 0; k < n; k++)
            total[k] += (term[k] + cut[k]) - cut[k];
    }
}

/* terms = a * b, or a where b is NULL; a may be terms itself */
INLINE void multiply(const block_t *block, const double *a, const double *b, long size)
{
    double *out = block->terms;
    for (long k = 0; k < size; k++)
        out[k] = b ? a[k] * b[k] : a[k];
}

INLINE void store(void *plane, int f8, long index, double value)
{
    if (f8)
        ((double *)plane)[index] = value;
    else
        ((float *)plane)[index] = (float)value;
}

/* The method's result of every column, into block->work. */
INLINE void results(const task_t *task, long n, const block_t *block)
{
    double *restrict out = block->work, base = task->base;
    const double *restrict centre = block->centre, *restrict s1 = block->s1, *restrict s2 = block->s2;
    const int32_t *restrict a = block->a, *restrict b = block->b;
    switch (task->method) {
    case MEAN:
        for (long k = 0; k < n; k++) {
            double count = b[k] - a[k];
            out[k] = (count * (centre[k] + base) + s1[k]) / count;
        }
        break;
    case SUM:
        for (long k = 0; k < n; k++)
            out[k] = (double)(b[k] - a[k]) * (centre[k] + base) + s1[k];
        break;
    case STD:
    case VAR:
        for (long k = 0; k < n; k++) {
            double count = b[k] - a[k], spread = count * s2[k] - s1[k] * s1[k];
            double variance = (spread > 0.0 ? spread : 0.0) / (count * count);
            out[k] = task->method == VAR ? variance : sqrt(variance);
        }
        break;
    case RMS:
        for (long k = 0; k < n; k++) {
            double count = b[k] - a[k], origin = centre[k] + base;
            out[k] = sqrt((s2[k] + 2.0 * origin * s1[k] + count * (origin * origin)) / count);
        }
        break;
    case MIN:
    case MAX:
        for (long k = 0; k < n; k++)
            out[k] = (task->method == MIN ? block->low[k] : block->high[k]) + base;
        break;
    case WEIGHTED:
        for (long k = 0; k < n; k++)
            out[k] = centre[k] + block->wx[k] / block->w[k];
        break;
    default:
        for (long k = 0; k < n; k++)
            out[k] = block->middle[k] + base;
    }
}

/* Uncertainty from sums that know the frames, into block->work; returns how many survivors it needs. */
INLINE int frame_uncertainties(const task_t *task, const frame_t *frames, long n, const block_t *block)
{
    double *restrict out = block->work;
    int propagated = frames[0].sigma != NULL;
    for (long k = 0; k < n; k++) {
        double count = block->b[k] - block->a[k], d = block->wx[k] / block->w[k];
        if (propagated)
            out[k] = sqrt(block->own[k]) / block->w[k];
        else {
            double spread = block->w2x2[k] - 2.0 * d * block->w2x[k] + d * d * block->w2[k];
            out[k] = sqrt((spread > 0.0 ? spread : 0.0) * (count / (count - 1.0))) / block->w[k];
        }
        if (task->method == SUM)
            out[k] *= count;
        else if (task->method != WEIGHTED)
            out[k] *= task->factors[block->b[k] - block->a[k]];
    }
    return propagated ? 1 : 2;
}

/* Variance of the mean of every column's survivors, into block->work. */
INLINE void mean_variances(const task_t *task, long n, const block_t *block)
{
    double *restrict out = block->work;
    int dropped = task->clip == CLIP_DROP;
    double n_low = task->drop_low, n_high = task->drop_high;
    for (long k = 0; k < n; k++) {
        double count = block->b[k] - block->a[k], s1 = block->s1[k], s2 = block->s2[k], whole = count;
        if (dropped) { /* Winsorised: what was dropped counts as the nearest survivor */
            double low = block->low[k] - block->centre[k], high = block->high[k] - block->centre[k];
            s1 = s1 + n_low * low + n_high * high;
            s2 = s2 + n_low * low * low + n_high * high * high;
            whole = count + (n_low + n_high);
        }
        double spread = whole * s2 - s1 * s1;
        out[k] = (spread > 0.0 ? spread : 0.0) / (whole * count * (count - 1.0));
    }
}

/* One standard deviation of the result, in place of the variances in block->work. */
INLINE void uncertainties(const task_t *task, long n, const block_t *block)
{
    double *restrict out = block->work;
    for (long k = 0; k < n; k++) {
        double count = block->b[k] - block->a[k], variance = out[k];
        switch (task->method) {
        case SUM: out[k] = sqrt(variance) * count; break;
        case STD: out[k] = sqrt(variance / 2.0); break;
        case VAR: out[k] = variance * sqrt(2.0 * (count - 1.0)); break;
        case RMS: {
            double origin = block->centre[k] + task->base, sample = variance * count;
            double square = (block->s2[k] + 2.0 * origin * block->s1[k] + count * (origin * origin)) / count;
            double mean = (count * origin + block->s1[k]) / count;
            out[k] = sqrt((2.0 * sample * sample + 4.0 * mean * mean * sample) / count) / (2.0 * sqrt(square));
            break;
        }
        default: out[k] = sqrt(variance) * task->factors[block->b[k] - block->a[k]];
        }
    }
}

/* Write the planes of one block. */
INLINE void finish(const task_t *task, const frame_t *frames, long start, long n, const block_t *block)
{
    const int32_t *restrict a = block->a, *restrict b = block->b;
    results(task, n, block);
    for (long k = 0; k < n; k++)
        store(task->result, task->result_f8, start + k, b[k] > a[k] ? block->work[k] : NAN);
    if (task->uncertainty) {
        int least = 2;
        if (task->needs_frames)
            least = frame_uncertainties(task, frames, n, block);
        else {
            mean_variances(task, n, block);
            uncertainties(task, n, block);
        }
        for (long k = 0; k < n; k++)
            store(task->uncertainty, task->result_f8, start + k, b[k] - a[k] >= least ? block->work[k] : NAN);
    }
    if (task->count)
        for (long k = 0; k < n; k++)
            task->count[start + k] = (uint16_t)(b[k] - a[k]);
    if (task->mask)
        for (long k = 0; k < n; k++)
            task->mask[start + k] = block->good[k] == 0 ? FLAG_NO_DATA : b[k] == a[k] ? FLAG_REJECTED : 0;
}

#define T int16_t
#define FN(name) name##_i2
#define EXACT 1
#include "combine_body.h"

#define T float
#define FN(name) name##_f4
#define EXACT 0
#include "combine_body.h"

#define T double
#define FN(name) name##_f8
#define EXACT 0
#include "combine_body.h"

enum { PER_PIXEL = 16, PER_VALUE = 4 };

/* Bytes that combining in blocks of stride pixels needs. */
static size_t block_room(const task_t *task, long stride)
{
    size_t size = task->sort == 0 ? sizeof(int16_t) : task->sort == 1 ? sizeof(float) : sizeof(double);
    size_t values = (size_t)task->n_frames * stride, room = ROUNDED(values * size) + PER_PIXEL * ROUNDED(stride * sizeof(double));
    room += 3 * ROUNDED(stride * sizeof(int32_t)) + ROUNDED(stride);
    return room + (task->needs_frames ? ROUNDED(values * size) + PER_VALUE * ROUNDED(values * sizeof(double)) : 0);
}

/* Combine n_pixels in blocks of stride (a multiple of 64). */
static void combine_pixels(const frame_t *frames, const task_t *task, long n_pixels, long stride, char *scratch)
{
    size_t size = task->sort == 0 ? sizeof(int16_t) : task->sort == 1 ? sizeof(float) : sizeof(double);
    size_t values = (size_t)task->n_frames * stride, pixels = stride * sizeof(double);
    memset(scratch, 0, block_room(task, stride));
    void *sorted = carve(&scratch, values * size);
    block_t block = {.full = 1, .good = carve(&scratch, stride * sizeof(int32_t)), .a = carve(&scratch, stride * sizeof(int32_t))};
    block.b = carve(&scratch, stride * sizeof(int32_t));
    block.flag = carve(&scratch, stride);
    double **each[PER_PIXEL] = {&block.centre, &block.s1, &block.s2, &block.low, &block.high, &block.middle, &block.work, &block.largest,
                                &block.fraction_low, &block.fraction_high, &block.w, &block.wx, &block.w2, &block.w2x, &block.w2x2, &block.own};
    for (int i = 0; i < PER_PIXEL; i++)
        *each[i] = carve(&scratch, pixels);
    if (task->needs_frames) {
        block.unsorted = carve(&scratch, values * size);
        block.once = carve(&scratch, values * sizeof(double));
        block.twice = carve(&scratch, values * sizeof(double));
        block.x = carve(&scratch, values * sizeof(double));
        block.terms = carve(&scratch, values * sizeof(double));
    }
    if (task->sort == 0)
        run_i2(frames, task, n_pixels, stride, sorted, &block);
    else if (task->sort == 1)
        run_f4(frames, task, n_pixels, stride, sorted, &block);
    else
        run_f8(frames, task, n_pixels, stride, sorted, &block);
}

/* Bytes of scratch that the two functions below need; the address must be a multiple of 64. */
PUBLIC int64_t nightcrew_combine_room(const frame_t *frames, const task_t *task, long most_rows, long nx, long stride)
{
    return (int64_t)(block_room(task, stride) + slab_room(frames, task->n_frames, most_rows, nx));
}

/* Combine n_pixels of frames in memory. */
PUBLIC void nightcrew_combine(const frame_t *frames, const task_t *task, long n_pixels, long stride, char *scratch)
{
    combine_pixels(frames, task, n_pixels, stride, scratch);
}

/* Rows [y0, y1) of images of nx columns, step rows at a time.  The frames' pointers are to row 0, the task's planes to row y0.
 * Stored rows of frames without data are read from their files.  Returns 0, or i + 1 when frame i cannot be read. */
PUBLIC int nightcrew_combine_images(const frame_t *frames, const task_t *task, long y0, long y1, long nx, long step, long stride,
                                    char *scratch)
{
    int n = task->n_frames, failed = 0;
    slab_t slab = slab_make(frames, n, step, nx, &scratch);
    for (long y = y0; y < y1 && !failed; y += step) {
        long rows = y1 - y < step ? y1 - y : step, out = (y - y0) * nx, result_size = task->result_f8 ? 8 : 4;
        task_t now = *task;
        now.result = (char *)now.result + out * result_size;
        now.uncertainty = now.uncertainty ? (char *)now.uncertainty + out * result_size : NULL;
        now.count = now.count ? now.count + out : NULL;
        now.mask = now.mask ? now.mask + out : NULL;
        failed = slab_read(&slab, frames, n, y, rows);
        if (!failed)
            combine_pixels(slab.part, &now, rows * nx, stride, scratch);
    }
    return failed;
}

PUBLIC int nightcrew_frame_size(void) { return (int)sizeof(frame_t); }
PUBLIC int nightcrew_task_size(void) { return (int)sizeof(task_t); }
