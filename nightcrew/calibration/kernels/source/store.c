/* Rows as a FITS file holds them, and the sum of the 32-bit words that they are there (DATASUM): one reading instead of four. */
#include "common.h"

/* 32-bit values, swapped; returns the exact sum of the words. */
PUBLIC uint64_t nightcrew_store32(const uint32_t *restrict values, long n, uint32_t *restrict out)
{
    uint64_t sum = 0;
    for (long k = 0; k < n; k++) {
        sum += values[k];
        out[k] = __builtin_bswap32(values[k]);
    }
    return sum;
}

/* Unsigned 16-bit values by the BZERO convention, swapped; odd where the first of them is the second half of a word. */
PUBLIC uint64_t nightcrew_store16(const uint16_t *restrict values, long n, int odd, uint16_t *restrict out)
{
    uint64_t sum = 0;
    long at = 0;
    for (; at < n && odd; at++, odd = 0) {
        uint16_t v = values[at] ^ 0x8000;
        sum += v;
        out[at] = __builtin_bswap16(v);
    }
    long pairs = (n - at) / 2;
    for (long k = 0; k < pairs; k++) {
        uint32_t pair;
        memcpy(&pair, values + at + 2 * k, sizeof pair);
        uint32_t word = (pair << 16 | pair >> 16) ^ 0x80008000u, swapped = __builtin_bswap32(word);
        sum += word;
        memcpy(out + at + 2 * k, &swapped, sizeof swapped);
    }
    for (at += 2 * pairs; at < n; at++) {
        uint16_t v = values[at] ^ 0x8000;
        sum += (uint64_t)v << 16;
        out[at] = __builtin_bswap16(v);
    }
    return sum;
}
