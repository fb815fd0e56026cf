/* The part of combine.c that is compiled once for each type T of the sorted values (int16, float, double).
 * AT(i, k) is rank i of column k.  EXACT: sums are integers, so that values may be taken away from them again. */

#define AT(i, k) s[(long)(i) * stride + (k)]

INLINE void FN(sort)(T *restrict s, long stride, const int32_t *net, int n_comparators)
{
    for (int c = 0; c < n_comparators; c++, net += 3) {
        T *restrict p = s + (long)net[0] * stride;
        T *restrict q = s + (long)net[1] * stride;
        if (net[2] == BOTH)
            for (long k = 0; k < stride; k++) {
                T x = p[k], y = q[k];
                T low = x < y ? x : y, high = x > y ? x : y;
                p[k] = low;
                q[k] = high;
            }
        else if (net[2] == MINIMUM_ONLY)
            for (long k = 0; k < stride; k++)
                p[k] = p[k] < q[k] ? p[k] : q[k];
        else
            for (long k = 0; k < stride; k++)
                q[k] = p[k] > q[k] ? p[k] : q[k];
    }
}

INLINE double FN(at)(const T *s, long stride, int n_frames, long rank, long k)
{
    rank = rank < 0 ? 0 : rank >= n_frames ? n_frames - 1 : rank;
    return (double)AT(rank, k);
}

INLINE double FN(median)(const T *s, long stride, long a, long b, long k)
{
    return ((double)AT(a + (b - a - 1) / 2, k) + (double)AT(a + (b - a) / 2, k)) * 0.5;
}

/* Medians of the survivors [a, b); 0 where there is none. */
INLINE void FN(medians)(const T *restrict s, long stride, long n, const block_t *block)
{
    double *restrict out = block->middle;
    if (block->full) {
        long a = block->a[0], b = block->b[0];
        const T *restrict p = s + (a + (b - a - 1) / 2) * stride;
        const T *restrict q = s + (a + (b - a) / 2) * stride;
        for (long k = 0; k < n; k++)
            out[k] = ((double)p[k] + (double)q[k]) * 0.5;
        return;
    }
    for (long k = 0; k < n; k++)
        out[k] = block->b[k] > block->a[k] ? FN(median)(s, stride, block->a[k], block->b[k], k) : 0.0;
}

/* Sums over the survivors of deviations from the centre and of their squares, in sorted order. */
INLINE void FN(moments)(const T *restrict s, long stride, int n_frames, long n, const block_t *block)
{
    double *restrict s1 = block->s1, *restrict s2 = block->s2;
    const double *restrict centre = block->centre;
    const int32_t *restrict a = block->a, *restrict b = block->b;
#if EXACT /* always full; small pieces keep the integer sums in the nearest cache */
    for (long k0 = 0; k0 < n; k0 += 64) {
        int32_t t1[64] = {0}, c[64];
        int64_t t2[64] = {0};
        for (long k = 0; k < 64; k++)
            c[k] = (int32_t)centre[k0 + k];
        for (int i = a[0]; i < b[0]; i++)
            for (long k = 0; k < 64; k++) {
                int32_t d = (int32_t)AT(i, k0 + k) - c[k];
                t1[k] += d;
                t2[k] += (int64_t)d * d;
            }
        for (long k = 0; k < 64; k++) {
            s1[k0 + k] = (double)t1[k];
            s2[k0 + k] = (double)t2[k];
        }
    }
    (void)n_frames;
#else
    for (long k = 0; k < n; k++)
        s1[k] = s2[k] = 0.0;
    if (block->full)
        for (int i = a[0]; i < b[0]; i++)
            for (long k = 0; k < n; k++) {
                double d = (double)AT(i, k) - centre[k];
                s1[k] += d;
                s2[k] += d * d;
            }
    else
        for (int i = 0; i < n_frames; i++)
            for (long k = 0; k < n; k++) {
                double d = (i >= a[k]) & (i < b[k]) ? (double)AT(i, k) - centre[k] : 0.0;
                s1[k] += d;
                s2[k] += d * d;
            }
#endif
}

/* Take rank i of column k out of its sums. */
INLINE void FN(leave_out)(const T *s, long stride, long i, long k, const block_t *block)
{
    double d = (double)AT(i, k) - block->centre[k];
    block->s1[k] -= d;
    block->s2[k] -= d * d;
}

/* Sums of column k afresh, for floats, where taking away would lose digits. */
INLINE void FN(sum_again)(const T *s, long stride, long a, long b, long k, const block_t *block)
{
    double s1 = 0.0, s2 = 0.0, centre = block->centre[k];
    for (long i = a; i < b; i++) {
        double d = (double)AT(i, k) - centre;
        s1 += d;
        s2 += d * d;
    }
    block->s1[k] = s1;
    block->s2[k] = s2;
}

/* Sigma clipping of column k from its sums over all good values; leaves a, b and the sums of the survivors. */
INLINE void FN(clip_column)(const T *restrict s, long stride, const task_t *task, long k, const block_t *block)
{
    long a = 0, b = block->good[k];
    for (int round = 0; round < task->iterations && a < b; round++) {
        double n = (double)(b - a), n2 = n * n, spread = n * block->s2[k] - block->s1[k] * block->s1[k];
        double middle = FN(median)(s, stride, a, b, k), low_limit = task->low2 * spread, high_limit = task->high2 * spread;
        long first = a, last = b;
        for (; a < b; a++) {
            double d = (double)AT(a, k) - middle;
            if (!(d < 0 && d * d * n2 > low_limit))
                break;
            if (EXACT)
                FN(leave_out)(s, stride, a, k, block);
        }
        for (; a < b; b--) {
            double d = (double)AT(b - 1, k) - middle;
            if (!(d > 0 && d * d * n2 > high_limit))
                break;
            if (EXACT)
                FN(leave_out)(s, stride, b - 1, k, block);
        }
        if (a == first && b == last)
            break;
        if (!EXACT)
            FN(sum_again)(s, stride, a, b, k, block);
    }
    block->a[k] = (int32_t)a;
    block->b[k] = (int32_t)b;
}

/* Clip the columns where the lowest or the highest value has to go; all others stay as they are. */
INLINE void FN(clip_sigma)(const T *restrict s, long stride, const task_t *task, long n, block_t *block)
{
    const double *restrict s1 = block->s1, *restrict s2 = block->s2, *restrict middle = block->middle;
    unsigned char *restrict flag = block->flag;
    double low2 = task->low2, high2 = task->high2, count = task->n_frames, n2 = count * count;
    if (block->full) {
        const T *restrict lowest = s, *restrict highest = s + (long)(task->n_frames - 1) * stride;
        for (long k = 0; k < n; k++) {
            double spread = count * s2[k] - s1[k] * s1[k];
            double low = (double)lowest[k] - middle[k], high = (double)highest[k] - middle[k];
            flag[k] = (low * low * n2 > low2 * spread) | (high * high * n2 > high2 * spread);
        }
    } else
        for (long k = 0; k < n; k++)
            flag[k] = block->good[k] > 1;
    int any = 0;
    for (long k = 0; k < n; k++)
        if (flag[k]) {
            FN(clip_column)(s, stride, task, k, block);
            any = 1;
        }
    block->full = block->full && !any;
}

INLINE void FN(ends)(const T *restrict s, long stride, int n_frames, long n, const block_t *block)
{
    for (long k = 0; k < n; k++) {
        block->low[k] = FN(at)(s, stride, n_frames, block->a[k], k);
        block->high[k] = FN(at)(s, stride, n_frames, (long)block->b[k] - 1, k);
    }
}

INLINE void FN(quantiles)(const T *restrict s, long stride, const task_t *task, long n, const block_t *block)
{
    for (long k = 0; k < n; k++) {
        double rank = task->quantile * ((double)(block->b[k] - block->a[k]) - 1.0), below = floor(rank);
        double low = FN(at)(s, stride, task->n_frames, block->a[k] + (long)below, k);
        double high = FN(at)(s, stride, task->n_frames, block->a[k] + (long)ceil(rank), k);
        block->middle[k] = low + (rank - below) * (high - low);
    }
}

/* Clip, and fill what the method and the uncertainty need of block: n, centre, sums, middle, ends. */
INLINE void FN(reduce)(const T *restrict s, long stride, const task_t *task, long n, block_t *block)
{
    int sums = task->needs_moments || task->uncertainty || task->clip == CLIP_SIGMA;
    for (long k = 0; k < n; k++) {
        block->a[k] = 0;
        block->b[k] = block->good[k];
    }
    if (sums) {
        FN(medians)(s, stride, n, block);
        for (long k = 0; k < n; k++)
            block->centre[k] = EXACT ? floor(block->middle[k]) : block->middle[k];
    }
    if (task->clip == CLIP_SIGMA) {
        FN(moments)(s, stride, task->n_frames, n, block);
        FN(clip_sigma)(s, stride, task, n, block);
    } else if (task->clip == CLIP_DROP)
        for (long k = 0; k < n; k++) {
            int32_t good = block->good[k], low = task->drop_low < good ? task->drop_low : good;
            block->a[k] = low;
            block->b[k] = good - task->drop_high > low ? good - task->drop_high : low;
        }
    if (sums && task->clip != CLIP_SIGMA)
        FN(moments)(s, stride, task->n_frames, n, block);
    if (task->method == MEDIAN && (task->clip != CLIP_NONE || !sums))
        FN(medians)(s, stride, n, block);
    if (task->method == QUANTILE)
        FN(quantiles)(s, stride, task, n, block);
    if (task->method == MIN || task->method == MAX || (task->clip == CLIP_DROP && task->uncertainty) || task->needs_frames)
        FN(ends)(s, stride, task->n_frames, n, block);
}

#if !EXACT
/* Parts of the values that tie with the first or last survivor, where some of them were dropped. */
INLINE void FN(fractions)(const T *restrict s, long stride, const task_t *task, long n, const block_t *block)
{
    for (long k = 0; k < n; k++) {
        double left_low = 0.0, left_high = 0.0, there_low = 0.0, there_high = 0.0;
        for (long i = 0; task->clip == CLIP_DROP && i < block->good[k]; i++) {
            int inside = i >= block->a[k] && i < block->b[k], is_low = AT(i, k) == block->low[k], is_high = AT(i, k) == block->high[k];
            there_low += is_low;
            there_high += is_high;
            left_low += is_low && inside;
            left_high += is_high && inside;
        }
        block->fraction_low[k] = there_low > 0.0 ? left_low / there_low : 1.0;
        block->fraction_high[k] = there_high > 0.0 ? left_high / there_high : 1.0;
    }
}

/* Sums over the survivors frame by frame (frame_sums of weighted.py). */
INLINE void FN(frame_sums)(const frame_t *frames, const task_t *task, long start, long n, long stride, const block_t *block)
{
    long size = (long)task->n_frames * stride;
    for (int i = 0; i < task->n_frames; i++) {
        const T *restrict value = (const T *)block->unsorted + i * stride;
        const float *restrict sigma = frames[i].sigma ? frames[i].sigma + start : NULL;
        double *restrict once = block->once + i * stride, *restrict twice = block->twice + i * stride, *restrict x = block->x + i * stride;
        double given = task->method == WEIGHTED ? frames[i].weight : 1.0;
        int by_sigma = task->method == WEIGHTED && frames[i].weight_by_sigma && sigma;
        for (long k = 0; k < n; k++) {
            double v = (double)value[k], low = block->low[k], high = block->high[k];
            double share = block->b[k] > block->a[k] && v >= low && v <= high ? 1.0 : 0.0;
            share = share > 0.0 && v == low ? block->fraction_low[k] : share;
            share = share > 0.0 && v == high ? block->fraction_high[k] : share;
            double w = by_sigma ? 1.0 / ((double)sigma[k] * (double)sigma[k]) : given;
            w = share > 0.0 ? w : 0.0;
            once[k] = share * w;
            twice[k] = once[k] * w;
            x[k] = share > 0.0 ? v - block->centre[k] : 0.0;
        }
    }
    multiply(block, block->once, NULL, size);
    exact_sum(block, task->n_frames, stride, n, block->w);
    multiply(block, block->once, block->x, size);
    exact_sum(block, task->n_frames, stride, n, block->wx);
    multiply(block, block->twice, NULL, size);
    exact_sum(block, task->n_frames, stride, n, block->w2);
    multiply(block, block->twice, block->x, size);
    exact_sum(block, task->n_frames, stride, n, block->w2x);
    multiply(block, block->terms, block->x, size);
    exact_sum(block, task->n_frames, stride, n, block->w2x2);
    for (int i = 0; frames[0].sigma && i < task->n_frames; i++)
        for (long k = 0; k < n; k++) {
            double sigma = (double)frames[i].sigma[start + k], twice = block->twice[i * stride + k];
            block->terms[i * stride + k] = twice > 0.0 ? twice * (sigma * sigma) : 0.0;
        }
    if (frames[0].sigma)
        exact_sum(block, task->n_frames, stride, n, block->own);
}
#endif

static void FN(run)(const frame_t *frames, const task_t *task, long n_pixels, long stride, T *s, block_t *block)
{
    for (long start = 0; start < n_pixels; start += stride) {
        long n = n_pixels - start < stride ? n_pixels - start : stride;
        FN(load_rows)(frames, task->n_frames, start, n, stride, s, block);
#if !EXACT
        if (task->needs_frames)
            memcpy(block->unsorted, s, (size_t)task->n_frames * stride * sizeof(T));
#endif
        FN(sort)(s, stride, block->full ? task->network : task->full_network,
                 block->full ? task->n_comparators : task->n_full_comparators);
        FN(reduce)(s, stride, task, n, block);
#if !EXACT
        if (task->needs_frames) {
            FN(fractions)(s, stride, task, n, block);
            FN(frame_sums)(frames, task, start, n, stride, block);
        }
#endif
        finish(task, frames, start, n, block);
    }
}

#undef AT
#undef T
#undef FN
#undef EXACT
