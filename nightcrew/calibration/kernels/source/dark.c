/* Dark rate R and own slope dB of every pixel: d_i = R f_i exp(dB u_i), by weighted least squares in counts.
 *
 * A vector of pixels at a time, over all frames, with its sums in registers; the signal of a block of pixels stays in the cache.
 * Operation by operation, and frame after frame, as nightcrew/detector/dark_pixels.py: float32 throughout. */
#include "common.h"

#include <float.h>

/* larger(a, b) is a > b ? a : b, also of numbers that are none. */
#if defined(__AVX512F__)
#include <immintrin.h>
enum { LANES = 16 };
#define larger(a, b) ((vf)_mm512_max_ps((__m512)(a), (__m512)(b)))
#define smaller(a, b) ((vf)_mm512_min_ps((__m512)(a), (__m512)(b)))
#elif defined(__AVX__)
#include <immintrin.h>
enum { LANES = 8 };
#define larger(a, b) ((vf)_mm256_max_ps((__m256)(a), (__m256)(b)))
#define smaller(a, b) ((vf)_mm256_min_ps((__m256)(a), (__m256)(b)))
#else
enum { LANES = 4 };
#define larger(a, b) pick((a) > (b), (a), (b))
#define smaller(a, b) pick((a) < (b), (a), (b))
#endif
enum { LARGEST = 1024, SMALLEST = 64, CACHE = 40 << 10 };

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));

DEFINE_LOAD(load_f32, float)

typedef struct { /* of a frame: temperature; f w and f f w with the usual weight w; f, u and their products */
    float t, fw, ffw, f, u, uu, fu, ff, ffu, ffuu;
} term_t;

typedef struct {
    int32_t n_frames, own_b;
    float b, read2, noise_factor, saturation; /* variance of a value: read2 + noise_factor signal */
    float own_limit, far_limit, largest_step, largest_db, u_most, hit2, most_hits, strong, unstable_sigma, unused;
    const term_t *term;         /* [frame] */
    const float *level, *slope; /* bias at 0 C and per K [pixel] */
    float *rate, *rate_error, *db, *db_error, *correlation, *chi2, *lever, *jump;
    uint16_t *count, *hits;
    uint8_t *unstable, *saturated;
} dark_t;

INLINE vf all(float x) { return x - (vf){0}; }
INLINE vf read_v(const float *from) { vf v; memcpy(&v, from, sizeof v); return v; }
INLINE void write_v(float *to, vf v) { memcpy(to, &v, sizeof v); }
INLINE vf pick(vi which, vf yes, vf no) { return (vf)(((vi)yes & which) | ((vi)no & ~which)); }
INLINE vf keep(vi which, vf yes) { return (vf)((vi)yes & which); }
INLINE vf magnitude(vf x) { return (vf)((vi)x & 0x7fffffff); }
INLINE vi is_finite(vf x) { return magnitude(x) <= all(FLT_MAX); }
INLINE vf finite_or_0(vf x) { return keep(is_finite(x), x); }
INLINE vf positive(vf x) { return larger(x, (vf){0}); }

INLINE int any(vi which)
{
    int32_t some = 0;
    for (int l = 0; l < LANES; l++)
        some |= which[l];
    return some != 0;
}

INLINE vf root(vf x)
{
    float in[LANES], out[LANES];
    memcpy(in, &x, sizeof in);
    for (int l = 0; l < LANES; l++)
        out[l] = sqrtf(in[l]);
    return read_v(out);
}

INLINE vf clip(vf x, float most) { return larger(all(-most), smaller(all(most), x)); }

/* Whether exp of x has to be reduced; otherwise the polynomial alone gives the same bits. */
enum tilt { FLAT, NEAR, WIDE };
INLINE enum tilt tilt_of(vf db, float u_most) { return any(magnitude(db) * u_most > 0.34f) ? WIDE : NEAR; }

/* exp by reduction to |r| <= ln 2 / 2 and a polynomial (Cephes, expf): within 2 units of the last place; |x| <= 80. */
INLINE vf exponential(vf x, enum tilt tilt)
{
    vf n = {0}, r = x;
    if (tilt == WIDE) {
        n = (x * 1.44269504088896341f + 12582912.0f) - 12582912.0f;
        r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    }
    vf p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = ((p * r) * r + r) + 1.0f;
    return tilt == WIDE ? p * (vf)((__builtin_convertvector(n, vi) + 127) << 23) : p;
}

typedef struct {
    vf rate, rate_error, db, db_error, correlation, chi2, lever, jump, count;
} fit_t;

INLINE vf variance(const dark_t *t, vf course) { return positive(course) * t->noise_factor + t->read2; }

/* What rate and db say of a frame. */
INLINE vf course_of(const term_t *at, vf rate, vf db, enum tilt tilt)
{
    vf course = at->f * rate;
    return tilt ? course * exponential(at->u * db, tilt) : course;
}

/* Values that are good, of which clean pixels have no others. */
INLINE vf good_of(vf signal, vf x, int clean) { return clean ? x : keep(signal == signal, x); }

typedef struct {
    vf m0, m1, m2, y0, y1;
} sums_t;

/* Normal equations of R and R dB about the present ones. */
INLINE sums_t sums_about(const dark_t *t, const float *s, long stride, int clean, const fit_t *fit, enum tilt tilt)
{
    sums_t sum = {{0}, {0}, {0}, {0}, {0}};
    for (int i = 0; i < t->n_frames; i++) {
        const term_t *at = &t->term[i];
        vf signal = read_v(s + i * stride);
        vf shape = exponential(at->u * fit->db, tilt) * at->f;
        vf course = shape * fit->rate;
        vf weight = good_of(signal, 1.0f / variance(t, course), clean);
        vf residual = (good_of(signal, signal - course, clean) * weight) * shape;
        weight = (weight * shape) * shape;
        sum.m0 += weight;
        sum.m1 += weight * at->u;
        sum.m2 += weight * at->uu;
        sum.y0 += residual;
        sum.y1 += residual * at->u;
    }
    return sum;
}

/* One Gauss-Newton step for R and dB of the pixels `which`, with their errors. */
INLINE void step(const dark_t *t, const float *s, long stride, int clean, vi which, fit_t *fit)
{
    sums_t sum = tilt_of(fit->db, t->u_most) == NEAR ? sums_about(t, s, stride, clean, fit, NEAR) : sums_about(t, s, stride, clean, fit, WIDE);
    vf m0 = sum.m0, m1 = sum.m1, m2 = sum.m2, determinant = m0 * m2 - m1 * m1;
    vf more_rate = (m2 * sum.y0 - m1 * sum.y1) / determinant, more_db = ((m0 * sum.y1 - m1 * sum.y0) / determinant) / fit->rate;
    fit->rate_error = pick(which, root(m2 / determinant), fit->rate_error);
    fit->db_error = pick(which, root(m0 / determinant) / magnitude(fit->rate), fit->db_error);
    fit->correlation = pick(which, -m1 / root(m0 * m2), fit->correlation);
    fit->rate = pick(which, fit->rate + finite_or_0(more_rate), fit->rate);
    fit->db = pick(which, clip(fit->db + clip(finite_or_0(more_db), t->largest_step), t->largest_db), fit->db);
}

/* Reduced chi^2 and the largest deviation. */
INLINE void residuals(const dark_t *t, const float *s, long stride, int clean, enum tilt tilt, const float *weights, vf freedom, fit_t *fit)
{
    vf sum = {0}, worst = {0};
    for (int i = 0; i < t->n_frames; i++) {
        vf signal = read_v(s + i * stride);
        vf residual = good_of(signal, signal - course_of(&t->term[i], fit->rate, fit->db, tilt), clean);
        residual = (residual * residual) * read_v(weights + i * LANES);
        sum += residual;
        worst = larger(residual, worst);
    }
    fit->chi2 = pick(fit->count > 0, sum / larger(freedom, all(1.0f)), all(NAN));
    fit->jump = root(worst);
}

/* Rate and dB of a vector of pixels with the weights of a course; weights are kept for chi^2. */
INLINE void two_terms(const dark_t *t, const float *s, long stride, int clean, vf rate0, vf db0, enum tilt tilt, float *weights, fit_t *fit)
{
    vf m0 = {0}, m1 = {0}, m2 = {0}, lever = {0}, y0 = {0}, y1 = {0}, count = clean ? all((float)t->n_frames) : all(0.0f);
    for (int i = 0; i < t->n_frames; i++) {
        const term_t *at = &t->term[i];
        vf signal = read_v(s + i * stride);
        vf weight = good_of(signal, 1.0f / variance(t, course_of(at, rate0, db0, tilt)), clean);
        vf weighted = weight * good_of(signal, signal, clean);
        write_v(weights + i * LANES, weight);
        m0 += weight * at->ff;
        m1 += weight * at->ffu;
        m2 += weight * at->ffuu;
        lever += weight * at->f;
        y0 += weighted * at->f;
        y1 += weighted * at->fu;
        if (!clean)
            count += keep(signal == signal, all(1.0f));
    }
    vf none = {0}, nan = all(NAN);
    vf determinant = m0 * m2 - m1 * m1;
    fit->rate = y0 / m0;
    fit->rate_error = pick(m0 > 0, 1.0f / root(m0), nan);
    fit->lever = lever / m0;
    fit->db = fit->correlation = none;
    fit->db_error = nan;
    fit->count = count;
    vf db_error = root(m0 / determinant) / magnitude(fit->rate);
    vi own = {0};
    if (t->own_b)
        own = (determinant > (m0 * m2) * 1e-6f) & (db_error <= t->own_limit) & (fit->rate > 0);
    vf freedom = count - 1.0f - keep(own, all(1.0f));
    if (!any(own)) {
        residuals(t, s, stride, clean, FLAT, weights, freedom, fit);
        return;
    }
    vf first = (y1 - fit->rate * m1) / determinant; /* the first step from dB = 0 needs no exponential */
    fit->db = keep(own, clip(clip(finite_or_0((m0 * first) / fit->rate), t->largest_step), t->largest_db));
    fit->rate = pick(own, fit->rate - m1 * first, fit->rate);
    step(t, s, stride, clean, own, fit);
    vi far = own & (magnitude(fit->db) > t->far_limit);
    for (int more = any(far) ? 2 : 0; more; more--)
        step(t, s, stride, clean, far, fit);
    if (tilt_of(fit->db, t->u_most) == NEAR)
        residuals(t, s, stride, clean, NEAR, weights, freedom, fit);
    else
        residuals(t, s, stride, clean, WIDE, weights, freedom, fit);
}

/* n floats of each plane from a vector; NULL where nobody asked. */
INLINE void write_fit(const dark_t *t, const fit_t *fit, long at, long n)
{
    float *to[] = {t->rate, t->rate_error, t->db, t->db_error, t->correlation, t->chi2, t->lever, t->jump};
    const vf *from[] = {&fit->rate, &fit->rate_error, &fit->db, &fit->db_error, &fit->correlation, &fit->chi2, &fit->lever, &fit->jump};
    for (int p = 0; p < 8; p++)
        memcpy(to[p] + at, from[p], (size_t)n * sizeof(float));
    vi count = __builtin_convertvector(fit->count, vi);
    for (long l = 0; l < n; l++) {
        t->count[at + l] = (uint16_t)count[l];
        t->saturated[at + l] = count[l] < t->n_frames;
    }
}

/* Signal of n pixels of frame i: NaN where it is saturated or not known. */
INLINE void signal_of(const dark_t *t, int i, const float *restrict level, const float *restrict slope, long n, float *restrict row)
{
    float temperature = t->term[i].t, saturation = t->saturation;
    for (long k = 0; k < n; k++) {
        float signal = row[k] - level[k] - temperature * slope[k];
        row[k] = row[k] < saturation && fabsf(signal) <= FLT_MAX ? signal : NAN;
    }
}

static long block_of(const dark_t *t)
{
    long n = CACHE / (4 * (long)t->n_frames) / LANES * LANES;
    return n > LARGEST ? LARGEST : n < SMALLEST ? SMALLEST : n;
}

PUBLIC int64_t nightcrew_dark_room(const dark_t *t)
{
    return (int64_t)(4 * t->n_frames * (2 * ROUNDED(block_of(t)) + LANES) + 16 * 4 * LARGEST);
}

/* Signal of a block of pixels in all frames, and sums for a first rate: top over below; below is full where no value is bad. */
INLINE void load_block(const frame_t *frames, const dark_t *t, long start, long m, long block, long ahead, float *s, float *restrict top, float *restrict below)
{
    for (long k = 0; k < block; k++)
        top[k] = below[k] = 0.0f;
    for (int i = 0; i < t->n_frames; i++) {
        float *restrict row = s + i * block, fw = t->term[i].fw, ffw = t->term[i].ffw;
        prefetch(&frames[i], start + block, ahead);
        load_f32(&frames[i], start, m, row);
        signal_of(t, i, t->level + start, t->slope + start, m, row);
        for (long k = m; k < block; k++)
            row[k] = NAN;
        for (long k = 0; k < block; k++) {
            top[k] += row[k] == row[k] ? fw * row[k] : 0.0f;
            below[k] += row[k] == row[k] ? ffw : 0.0f;
        }
    }
}

/* Pixels [0, n) of all frames. */
PUBLIC void nightcrew_dark(const frame_t *frames, const dark_t *t, long n, char *scratch)
{
    long block = block_of(t);
    float *s = carve(&scratch, (size_t)(4 * t->n_frames * block)), *weights = carve(&scratch, (size_t)(4 * t->n_frames * LANES));
    float *top = carve(&scratch, 4 * LARGEST), *below = carve(&scratch, 4 * LARGEST), full = 0.0f;
    for (int i = 0; i < t->n_frames; i++)
        full += t->term[i].ffw;
    for (long start = 0; start < n; start += block) {
        long m = n - start < block ? n - start : block;
        load_block(frames, t, start, m, block, n - start > 2 * block ? block : 0, s, top, below);
        for (long k = 0; k < m; k += LANES) {
            fit_t fit;
            vf rate = read_v(top + k) / read_v(below + k), flat = {0};
            if (any(read_v(below + k) != full))
                two_terms(t, s + k, block, 0, rate, flat, FLAT, weights, &fit);
            else
                two_terms(t, s + k, block, 1, rate, flat, FLAT, weights, &fit);
            write_fit(t, &fit, start + k, m - k < LANES ? m - k : LANES);
        }
    }
}

/* Median of n values in a row of its own, which is sorted; NaN of none. */
static float median_of(float *v, int n)
{
    for (int i = 1; i < n; i++) {
        float x = v[i];
        int j = i;
        for (; j > 0 && v[j - 1] > x; j--)
            v[j] = v[j - 1];
        v[j] = x;
    }
    return n ? 0.5f * (v[(n - 1) / 2] + v[n / 2]) : NAN;
}

/* Rate of each pixel of a vector from the median over the frames with much signal. */
INLINE vf robust_rate(const dark_t *t, const float *s, float *room)
{
    float found[LANES];
    for (int l = 0; l < LANES; l++) {
        int n = 0;
        for (int i = 0; i < t->n_frames; i++) {
            float signal = s[i * LANES + l];
            if (t->term[i].f >= t->strong && signal == signal)
                room[n++] = signal / t->term[i].f;
        }
        found[l] = median_of(room, n);
    }
    return read_v(found);
}

/* Copy the signal without hits: values far above the course, where they are few; returns how many are good. */
INLINE vf without_hits(const dark_t *t, const float *s, float *kept, vf rate, vf db, enum tilt tilt)
{
    vf good = {0}, hits = {0};
    for (int pass = 0; pass < 2; pass++) {
        vf most = good * t->most_hits;
        vi few = hits <= larger(most, all(1.0f));
        for (int i = 0; i < t->n_frames; i++) {
            vf signal = read_v(s + i * LANES), course = course_of(&t->term[i], rate, db, tilt);
            vf off = signal - course;
            vi hit = (off > 0) & (off * off > variance(t, course) * t->hit2);
            if (pass) {
                write_v(kept + i * LANES, pick(hit & few, all(NAN), signal));
            } else {
                good += keep(signal == signal, all(1.0f));
                hits += keep(hit, all(1.0f));
            }
        }
    }
    return good;
}

/* Pixels with jumps: a robust start, hits left out where they are few, else the pixel is unstable. */
static void carefully(const dark_t *t, const int64_t *places, long n, const float *s, float *kept, float *weights)
{
    fit_t fit;
    vf good = {0}, rate = robust_rate(t, s, kept), db = {0};
    for (int turn = 0; turn < 3; turn++) {
        enum tilt tilt = turn ? WIDE : FLAT;
        good = without_hits(t, s, kept, rate, db, tilt);
        two_terms(t, kept, LANES, 0, rate, db, tilt, weights, &fit);
        rate = fit.rate;
        db = fit.db;
    }
    vf freedom = fit.count - 2.0f;
    vf limit = root(2.0f / larger(freedom, all(1.0f))) * t->unstable_sigma + 1.0f;
    vi unstable = fit.chi2 > limit, count = __builtin_convertvector(fit.count, vi), all_good = __builtin_convertvector(good, vi);
    for (long l = 0; l < n; l++) {
        int64_t at = places[l];
        t->rate[at] = fit.rate[l];
        t->rate_error[at] = fit.rate_error[l];
        t->db[at] = fit.db[l];
        t->db_error[at] = fit.db_error[l];
        t->correlation[at] = fit.correlation[l];
        t->chi2[at] = fit.chi2[l];
        t->lever[at] = fit.lever[l];
        t->count[at] = (uint16_t)count[l];
        t->hits[at] = (uint16_t)(all_good[l] - count[l]);
        t->unstable[at] = unstable[l] != 0;
    }
}

/* The pixels at the given places once more, carefully. */
PUBLIC void nightcrew_dark_carefully(const frame_t *frames, const dark_t *t, const int64_t *places, long n, char *scratch)
{
    size_t vectors = (size_t)(4 * t->n_frames * LANES);
    float *s = carve(&scratch, vectors), *kept = carve(&scratch, vectors), *weights = carve(&scratch, vectors);
    for (long start = 0; start < n; start += LANES) {
        long m = n - start < LANES ? n - start : LANES;
        for (int i = 0; i < t->n_frames; i++)
            for (long l = 0; l < LANES; l++) {
                float *value = s + i * LANES + l;
                int64_t at = places[start + (l < m ? l : 0)];
                load_f32(&frames[i], at, 1, value);
                signal_of(t, i, t->level + at, t->slope + at, 1, value);
            }
        carefully(t, places + start, m, s, kept, weights);
    }
}

PUBLIC int nightcrew_dark_size(void) { return (int)sizeof(dark_t); }
