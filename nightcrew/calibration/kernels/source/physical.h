/* Values of a frame's pixels with its calibration done, operation by operation as physical in fallback.py. */
#ifndef NIGHTCREW_PHYSICAL_H
#define NIGHTCREW_PHYSICAL_H

DEFINE_LOAD(load_f32, float)
DEFINE_LOAD(load_f64, double)

/* Calibrated values of one frame, float64; masked pixels become NaN. */
INLINE void load_physical(const frame_t *f, long start, long n, double *restrict work)
{
    load_f64(f, start, n, work);
    for (long k = 0; k < n; k++)
        work[k] += f->zero;
    if (f->plain)
        return;
    unsigned char saturated[n];
    for (long k = 0; k < n; k++)
        saturated[k] = work[k] >= f->saturation;
    for (int p = 0; p < f->n_planes; p++) {
        const float *restrict plane = f->plane[p] + start;
        double factor = f->factor[p];
        for (long k = 0; k < n; k++)
            work[k] -= (double)plane[k] * factor;
    }
    if (f->divide) {
        const float *restrict divide = f->divide + start;
        for (long k = 0; k < n; k++)
            work[k] /= (double)divide[k];
    }
    for (long k = 0; k < n; k++)
        work[k] = work[k] * f->scale + f->shift;
    for (long k = 0; k < n; k++)
        work[k] = saturated[k] ? NAN : work[k];
    if (f->mask) {
        const uint16_t *restrict mask = f->mask + start;
        uint16_t exclude = (uint16_t)f->exclude;
        for (long k = 0; k < n; k++)
            work[k] = (mask[k] & exclude) ? NAN : work[k];
    }
    if (f->sigma) {
        const float *restrict sigma = f->sigma + start;
        float least = f->weight_by_sigma ? 0.0f : -INFINITY; /* weights 1 / sigma^2 need sigma > 0 */
        for (long k = 0; k < n; k++)
            work[k] = sigma[k] > least && sigma[k] < INFINITY ? work[k] : NAN;
    }
}

#endif
