/* Rice-compressed tiles (FITS 4.0, 10.4.1), many in one call: tile by tile from Python, two threads would wait for each other. */
#include "common.h"

/* The stream from its most significant bit on: the upper `have` bits of `bits` are not yet taken.  Bytes behind the end are read (the
 * caller keeps a margin of ones there), and what was taken is compared with the stream's length block by block. */
typedef struct {
    const uint8_t *next;
    uint64_t bits;
    int have;
} stream_t;

INLINE void refill(stream_t *s) /* then 56 bits at least are there */
{
    uint64_t more;
    memcpy(&more, s->next, 8);
    s->bits |= __builtin_bswap64(more) >> s->have;
    s->next += (63 - s->have) >> 3;
    s->have |= 56;
}

INLINE uint32_t take(stream_t *s, int n) /* 1 <= n <= 32 */
{
    refill(s);
    uint32_t value = (uint32_t)(s->bits >> (64 - n));
    s->bits <<= n;
    s->have -= n;
    return value;
}

/* Bits of the stream that were taken. */
INLINE int64_t taken(const stream_t *s, const uint8_t *begin)
{
    return 8 * (int64_t)(s->next - begin) - s->have;
}

/* Zero bits up to the next one, which is taken too; -1 when there are more than any stream that fits has. */
static int64_t long_run(stream_t *s, int64_t most)
{
    int64_t zeros = 0;
    for (;;) {
        refill(s);
        int here = s->bits ? __builtin_clzll(s->bits) : 64;
        if (here < s->have) {
            s->bits = s->bits << here << 1;
            s->have -= here + 1;
            return zeros + here;
        }
        zeros += s->have;
        s->bits = 0;
        s->have = 0;
        if (zeros > most)
            return -1;
    }
}

/* A difference: its upper part in unary, fs lower bits. */
INLINE int64_t difference(stream_t *s, int fs, int64_t most)
{
    refill(s);
    int zeros = s->bits ? __builtin_clzll(s->bits) : 64;
    if (zeros + 1 + fs <= s->have) {
        uint64_t rest = s->bits << zeros << 1;
        uint64_t low = rest >> 1 >> (63 - fs); /* two steps: a shift by 64 is not defined */
        s->bits = rest << fs;
        s->have -= zeros + 1 + fs;
        return (int64_t)((uint64_t)zeros << fs | low);
    }
    int64_t upper = long_run(s, most);
    return upper < 0 ? -1 : (int64_t)((uint64_t)upper << fs | (fs ? take(s, fs) : 0));
}

/* One tile of n pixels of 8 << shift bits; 0, or -1 where the stream ends before the pixels do. */
#define RICE(NAME, TYPE, SHIFT, CODE_BITS, MOST)                                                             \
    static int NAME(const uint8_t *begin, int64_t length, long n, int block, TYPE *restrict out)             \
    {                                                                                                        \
        int64_t room = 8 * length;                                                                           \
        stream_t s = {begin, 0, 0};                                                                          \
        if (length < (1 << SHIFT))                                                                           \
            return -1;                                                                                       \
        TYPE last = (TYPE)take(&s, 8 << SHIFT);                                                              \
        for (long at = 0; at < n; at += block) {                                                             \
            long end = n - at < block ? n : at + block;                                                      \
            int fs = (int)take(&s, CODE_BITS) - 1;                                                           \
            if (fs > MOST)                                                                                   \
                return -1;                                                                                   \
            if (fs < 0)                                                                                      \
                for (long k = at; k < end; k++)                                                              \
                    out[k] = last;                                                                           \
            else                                                                                             \
                for (long k = at; k < end; k++) {                                                            \
                    int64_t d = fs == MOST ? take(&s, 8 << SHIFT) : difference(&s, fs, room);                \
                    if (d < 0)                                                                               \
                        return -1;                                                                           \
                    last = (TYPE)(last + (TYPE)(d & 1 ? ~(d >> 1) : d >> 1));                                \
                    out[k] = last;                                                                           \
                }                                                                                            \
            if (taken(&s, begin) > room)                                                                     \
                return -1;                                                                                   \
        }                                                                                                    \
        return 0;                                                                                            \
    }

RICE(rice_8, uint8_t, 0, 3, 6)
RICE(rice_16, uint16_t, 1, 4, 14)
RICE(rice_32, uint32_t, 2, 5, 25)

/* n_tiles tiles of n pixels of `width` bytes each, in blocks of `block`, one behind the other in out; tile i is the `length[i]` bytes
 * from data + begin[i] on, and behind the last byte of data ones follow (tilecodecs.margin).  -1, or the first tile that is damaged. */
PUBLIC int64_t nightcrew_rice(const uint8_t *data, const int64_t *begin, const int64_t *length, int64_t n_tiles, int64_t n, int block, int width,
                              char *out)
{
    for (int64_t i = 0; i < n_tiles; i++) {
        const uint8_t *from = data + begin[i];
        void *to = out + i * n * width;
        int wrong = width == 1 ? rice_8(from, length[i], n, block, to)
                    : width == 2 ? rice_16(from, length[i], n, block, to)
                                 : rice_32(from, length[i], n, block, to);
        if (wrong)
            return i;
    }
    return -1;
}
