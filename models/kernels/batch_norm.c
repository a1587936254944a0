// Batch norm with the activation behind it, over rows of channels: a channels_last tensor as [N * H * W, C].
//
// Forward reads x twice and writes y; backward reads x and dy twice and writes dx. Nothing else is kept: what the
// activation let through is computed anew from x. All of it is bound by memory, so passes are what counts.
// Sums are float over blocks of rows, double over blocks; they depend on the number of threads, on nothing else.

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if ELEMENT_BITS == 16
typedef uint16_t element;  // bfloat16
static inline float load(element bits) {
  union { uint32_t bits; float value; } as = {(uint32_t)bits << 16};
  return as.value;
}
static inline element rounded(float value) {  // to nearest, ties to even
  union { float value; uint32_t bits; } as = {value};
  uint32_t high = (as.bits + 0x7FFF + ((as.bits >> 16) & 1)) >> 16;
  return value == value ? (element)high : (element)0x7FC0;
}
#else
typedef float element;
static inline float load(element value) { return value; }
static inline element rounded(float value) { return value; }
#endif

enum { BLOCK = 256, WIDE = 128 };

// Bounds of the activation. NaN passes in both directions, as in torch.
typedef struct { float low, high; } range;

static inline float clamped(float z, range in) {
  z = z < in.low ? in.low : z;
  return z > in.high ? in.high : z;
}
static inline float passed(float gradient, float z, range in) {
  return (z <= in.low) | (z >= in.high) ? 0.0f : gradient;
}

// Few channels make short loops, so several rows are taken for one: how many.
static long rows_in_one(long rows, long channels) {
  long fold = 1;
  while (channels * fold < WIDE && rows % (2 * fold) == 0) fold *= 2;
  return fold;
}
static void repeat(float *to, const float *from, long channels, long width) {
  for (long c = 0; c < width; c++) to[c] = from[c % channels];
}

typedef struct { long rows, channels, width; int threads; } shape;

// Adds up what threads and folded rows found: sums[threads][2][width] to totals[2][channels], in sums itself.
static void gather(double *sums, shape s) {
  for (long k = 0; k < 2; k++)
    for (long c = 0; c < s.channels; c++) {
      double total = 0;
      for (int t = 0; t < s.threads; t++)
        for (long at = c; at < s.width; at += s.channels) total += sums[(2 * t + k) * s.width + at];
      sums[k * s.width + c] = total;
    }
}

// sums of x - shift and of its square
static void moments(const element *restrict x, const float *restrict shift, double *restrict sums, shape s) {
#pragma omp parallel for num_threads(s.threads) schedule(static, 1)
  for (int t = 0; t < s.threads; t++) {
    long first = s.rows * t / s.threads, last = s.rows * (t + 1) / s.threads, width = s.width;
    double *total = sums + 2 * width * t;
    float sum[width], square[width];
    for (long begin = first; begin < last; begin += BLOCK) {
      long end = begin + BLOCK < last ? begin + BLOCK : last, r = begin;
      memset(sum, 0, sizeof sum);
      memset(square, 0, sizeof square);
      for (; r + 4 <= end; r += 4) {
        const element *p = x + r * width, *q = p + width, *u = q + width, *v = u + width;
#pragma omp simd
        for (long c = 0; c < width; c++) {
          float d0 = load(p[c]) - shift[c], d1 = load(q[c]) - shift[c];
          float d2 = load(u[c]) - shift[c], d3 = load(v[c]) - shift[c];
          sum[c] += (d0 + d1) + (d2 + d3);
          square[c] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3);
        }
      }
      for (; r < end; r++) {
#pragma omp simd
        for (long c = 0; c < width; c++) {
          float d = load(x[r * width + c]) - shift[c];
          sum[c] += d;
          square[c] += d * d;
        }
      }
      for (long c = 0; c < width; c++) { total[c] += sum[c]; total[width + c] += square[c]; }
    }
  }
}

// y = clamp((x - mean) * scale + bias)
static void normalise(const element *restrict x, element *restrict y, const float *restrict mean,
                      const float *restrict scale, const float *restrict bias, range in, shape s) {
#pragma omp parallel for num_threads(s.threads) schedule(static)
  for (long r = 0; r < s.rows; r++) {
#pragma omp simd
    for (long c = 0; c < s.width; c++) {
      float z = (load(x[r * s.width + c]) - mean[c]) * scale[c] + bias[c];
      y[r * s.width + c] = rounded(clamped(z, in));
    }
  }
}

// sums of g and of g * (x - mean), where g is what of dy passed the activation
static void gradient_sums(const element *restrict x, const element *restrict dy, const float *restrict mean,
                          const float *restrict scale, const float *restrict bias, double *restrict sums, range in,
                          shape s) {
#pragma omp parallel for num_threads(s.threads) schedule(static, 1)
  for (int t = 0; t < s.threads; t++) {
    long first = s.rows * t / s.threads, last = s.rows * (t + 1) / s.threads, width = s.width;
    double *total = sums + 2 * width * t;
    float sum[width], product[width];
    for (long begin = first; begin < last; begin += BLOCK) {
      long end = begin + BLOCK < last ? begin + BLOCK : last, r = begin;
      memset(sum, 0, sizeof sum);
      memset(product, 0, sizeof product);
      for (; r + 2 <= end; r += 2) {
        const element *p = x + r * width, *q = p + width, *g = dy + r * width, *h = g + width;
#pragma omp simd
        for (long c = 0; c < width; c++) {
          float d0 = load(p[c]) - mean[c], d1 = load(q[c]) - mean[c];
          float g0 = passed(load(g[c]), d0 * scale[c] + bias[c], in);
          float g1 = passed(load(h[c]), d1 * scale[c] + bias[c], in);
          sum[c] += g0 + g1;
          product[c] += g0 * d0 + g1 * d1;
        }
      }
      for (; r < end; r++) {
#pragma omp simd
        for (long c = 0; c < width; c++) {
          float d = load(x[r * width + c]) - mean[c];
          float g = passed(load(dy[r * width + c]), d * scale[c] + bias[c], in);
          sum[c] += g;
          product[c] += g * d;
        }
      }
      for (long c = 0; c < width; c++) { total[c] += sum[c]; total[width + c] += product[c]; }
    }
  }
}

// dx = g * scale + (x - mean) * slope + offset
static void gradient(const element *restrict x, const element *restrict dy, element *restrict dx,
                     const float *restrict mean, const float *restrict scale, const float *restrict bias,
                     const float *restrict slope, const float *restrict offset, range in, shape s) {
#pragma omp parallel for num_threads(s.threads) schedule(static)
  for (long r = 0; r < s.rows; r++) {
#pragma omp simd
    for (long c = 0; c < s.width; c++) {
      float d = load(x[r * s.width + c]) - mean[c];
      float g = passed(load(dy[r * s.width + c]), d * scale[c] + bias[c], in);
      dx[r * s.width + c] = rounded(g * scale[c] + (d * slope[c] + offset[c]));
    }
  }
}

// x[rows][channels] to y; mean[channels] and rstd[channels] are what it was normalised by, var the biased variance.
// Returns 0, or -1 where there is no memory for the sums.
int batch_norm_forward(const element *x, element *y, long rows, long channels, const float *weight, const float *bias,
                       double eps, float low, float high, float *mean, float *rstd, float *var, int threads) {
  long fold = rows_in_one(rows, channels), width = fold * channels;
  shape s = {rows / fold, channels, width, threads};
  double *sums = calloc(2 * width * threads, sizeof *sums);
  float *wide = malloc(3 * width * sizeof *wide), *scale = wide + width, *offset = scale + width;
  if (!sums || !wide) { free(sums); free(wide); return -1; }
  // Moments about the first row, which is about as far from the mean as any: about 0 they would cancel.
  for (long c = 0; c < width; c++) wide[c] = load(x[c % channels]);
  moments(x, wide, sums, s);
  gather(sums, s);
  for (long c = 0; c < channels; c++) {
    double from_shift = sums[c] / rows, variance = sums[width + c] / rows - from_shift * from_shift;
    mean[c] = wide[c] + from_shift;
    var[c] = variance < 0 ? 0 : variance;
    rstd[c] = 1 / __builtin_sqrt((variance < 0 ? 0 : variance) + eps);
    scale[c] = weight[c] * rstd[c];
  }
  for (long c = width - 1; c >= 0; c--) scale[c] = scale[c % channels];
  repeat(wide, mean, channels, width);
  repeat(offset, bias, channels, width);
  normalise(x, y, wide, scale, offset, (range){low, high}, s);
  free(sums);
  free(wide);
  return 0;
}

// The gradients dx[rows][channels], dweight[channels] and dbias[channels] from dy and what forward was given and left.
int batch_norm_backward(const element *x, const element *dy, element *dx, long rows, long channels,
                        const float *weight, const float *bias, const float *mean, const float *rstd, float low,
                        float high, float *dweight, float *dbias, int threads) {
  long fold = rows_in_one(rows, channels), width = fold * channels;
  shape s = {rows / fold, channels, width, threads};
  double *sums = calloc(2 * width * threads, sizeof *sums);
  float *wide = malloc(5 * width * sizeof *wide), *scale = wide + width, *shift = scale + width;
  float *slope = shift + width, *offset = slope + width;
  if (!sums || !wide) { free(sums); free(wide); return -1; }
  repeat(wide, mean, channels, width);
  repeat(shift, bias, channels, width);
  for (long c = 0; c < width; c++) scale[c] = weight[c % channels] * rstd[c % channels];
  gradient_sums(x, dy, wide, scale, shift, sums, (range){low, high}, s);
  gather(sums, s);
  for (long c = 0; c < width; c++) {
    double of_rows = sums[c % channels] / rows, with_x = sums[width + c % channels] / rows, r = rstd[c % channels];
    slope[c] = -scale[c] * r * r * with_x;
    offset[c] = -scale[c] * of_rows;
  }
  for (long c = 0; c < channels; c++) { dbias[c] = sums[c]; dweight[c] = sums[width + c] * rstd[c]; }
  gradient(x, dy, dx, wide, scale, shift, slope, offset, (range){low, high}, s);
  free(sums);
  free(wide);
  return 0;
}
