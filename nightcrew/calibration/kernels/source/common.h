/* What all kernels share: the description of a frame's rows, and how one source is compiled for several processors.
 *
 * Results are defined by fallback.py, operation by operation; compile with -ffp-contract=off and without -ffast-math. */
#ifndef NIGHTCREW_COMMON_H
#define NIGHTCREW_COMMON_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "pixels would be swapped the wrong way: without these kernels numpy computes the same"
#endif

#define PUBLIC __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))
#define MAX_PLANES 6

/* Memory of one call, given by the caller: one block a thread that is used again, since malloc and free of megabytes from several
 * threads leave the heaps full of holes. */
#define ROUNDED(n) (((size_t)(n) + 63) / 64 * 64)
static inline void *carve(char **scratch, size_t n)
{
    void *part = *scratch;
    *scratch += ROUNDED(n);
    return part;
}

static inline long kind_size(int kind)
{
    return kind < 2 ? 1 : kind < 4 ? 2 : kind < 7 ? 4 : 8;
}

enum { KIND_U8, KIND_I8, KIND_I16, KIND_U16, KIND_I32, KIND_U32, KIND_F32, KIND_F64 };

typedef struct {
    const void *data;      /* pixels as stored */
    const uint16_t *mask;  /* or NULL */
    const float *sigma;    /* or NULL */
    const float *plane[MAX_PLANES];
    double factor[MAX_PLANES];
    const float *divide;  /* or NULL */
    const char *path;     /* where fd is negative: open it for every slab */
    int64_t offset;       /* of the first pixel in the file, where data is NULL */
    int64_t size, mtime_ns; /* that the file at path must have */
    int64_t row_pixels, first_column; /* of a window: pixels of a stored row, and those left of the window; 0: all is wanted */
    double zero, scale, shift, saturation, weight;
    int32_t kind, swapped, n_planes, plain;
    uint32_t exclude;
    int32_t weight_by_sigma;
    int32_t fd, unused;
} frame_t;

/* Fetch bytes that will be wanted soon: the processor does not follow so many streams by itself. */
INLINE void prefetch_bytes(const void *from, long n)
{
    for (long at = 0; from && at < n; at += 64)
        __builtin_prefetch((const char *)from + at, 0, 2);
}

INLINE void prefetch(const frame_t *f, long start, long n)
{
    long size = kind_size(f->kind);
    prefetch_bytes((const char *)f->data + start * size, n * size);
}

/* Stored pixels [start, start + n) as numbers: the byte order undone, zero not yet added. */
#define LOAD_AS(TO, TYPE, WORD, SWAP)                                                                        \
    do {                                                                                                     \
        const WORD *from = (const WORD *)f->data + start;                                                    \
        if (f->swapped)                                                                                      \
            for (long k = 0; k < n; k++) {                                                                   \
                WORD w = SWAP(from[k]);                                                                      \
                TYPE v;                                                                                      \
                memcpy(&v, &w, sizeof v);                                                                    \
                to[k] = (TO)v;                                                                               \
            }                                                                                                \
        else                                                                                                 \
            for (long k = 0; k < n; k++) {                                                                   \
                TYPE v;                                                                                      \
                memcpy(&v, &from[k], sizeof v);                                                              \
                to[k] = (TO)v;                                                                               \
            }                                                                                                \
    } while (0)
#define SAME(x) (x)

#define DEFINE_LOAD(NAME, TO)                                                                                \
    INLINE void NAME(const frame_t *f, long start, long n, TO *restrict to)                                  \
    {                                                                                                        \
        switch (f->kind) {                                                                                   \
        case KIND_U8: LOAD_AS(TO, uint8_t, uint8_t, SAME); break;                                            \
        case KIND_I8: LOAD_AS(TO, int8_t, uint8_t, SAME); break;                                             \
        case KIND_I16: LOAD_AS(TO, int16_t, uint16_t, __builtin_bswap16); break;                             \
        case KIND_U16: LOAD_AS(TO, uint16_t, uint16_t, __builtin_bswap16); break;                            \
        case KIND_I32: LOAD_AS(TO, int32_t, uint32_t, __builtin_bswap32); break;                             \
        case KIND_U32: LOAD_AS(TO, uint32_t, uint32_t, __builtin_bswap32); break;                            \
        case KIND_F32: LOAD_AS(TO, float, uint32_t, __builtin_bswap32); break;                               \
        default: LOAD_AS(TO, double, uint64_t, __builtin_bswap64); break;                                    \
        }                                                                                                    \
    }

#endif
