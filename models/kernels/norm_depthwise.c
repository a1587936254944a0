// Batch norm and activation, a depthwise 3x3 convolution with padding 1, batch norm and activation: the middle of an
// inverted residual, forward and backward, over channels_last tensors with a multiple of 16 channels.
//
// As separate operations it reads or writes a whole tensor 22 times, and that is what takes the time. Here it is 14: what
// lies between the steps is made row by row in the cache, and made again for the backward pass instead of being kept.
//
// Names: e is the input, y = act(norm1(e)), d = depthwise(y), z = act(norm2(d)) the output. Rows in the cache are float,
// with a column of zeros on both sides.

#include "batch_norm.c"
#include "vectors.h"

typedef struct { long images, height, width, channels, stride, out_height, out_width; } sizes;
// Of one batch norm: y = clamp((x - mean) * scale + bias); for its gradient also slope and offset.
typedef struct { const float *mean, *scale, *bias, *slope, *offset; range in; } norm;

static sizes sizes_of(long images, long height, long width, long channels, long stride) {
  return (sizes){images, height, width, channels, stride, (height - 1) / stride + 1, (width - 1) / stride + 1};
}

// Three rows that follow each other, and one of zeros in place of those outside of the image.
typedef struct { float *rows[3], *zeros; long height; } window;

static float *window_memory(long width, long channels) { return calloc(4 * (width + 2) * channels, sizeof(float)); }
static window window_in(float *memory, long height, long width, long channels) {
  long size = (width + 2) * channels;
  return (window){{memory, memory + size, memory + 2 * size}, memory + 3 * size, height};
}
static float *row_of(window w, long row) { return row < 0 || row >= w.height ? w.zeros : w.rows[row % 3]; }

static void normalise_row(const element *restrict x, float *restrict to, norm by, long width, long channels) {
  for (long i = 0; i < width; i++)
#pragma omp simd
    for (long c = 0; c < channels; c++)
      to[(i + 1) * channels + c] =
          clamped((load(x[i * channels + c]) - by.mean[c]) * by.scale[c] + by.bias[c], by.in);
}

static void gradient_row(const element *restrict x, const element *restrict dy, float *restrict to, norm by, long width,
                         long channels) {
  for (long i = 0; i < width; i++)
#pragma omp simd
    for (long c = 0; c < channels; c++) {
      float d = load(x[i * channels + c]) - by.mean[c];
      float g = passed(load(dy[i * channels + c]), d * by.scale[c] + by.bias[c], by.in);
      to[(i + 1) * channels + c] = g * by.scale[c] + (d * by.slope[c] + by.offset[c]);
    }
}

// A row of d from three rows of y; adds to the sums of d - shift and of its square.
static inline __attribute__((always_inline)) void convolve_row(const float *const y[3], const float *taps, float *d,
                                                               const float *shift, float *sums, sizes s, long stride) {
  for (long c = 0; c < s.channels; c += LANES) {
    floats w[9], zero = {0}, sum = zero, square = zero, from = at(shift + c);
    for (int k = 0; k < 9; k++) w[k] = at(taps + k * s.channels + c);
    for (long ox = 0; ox < s.out_width; ox++) {
      floats value = zero;
#pragma GCC unroll 9
      for (int k = 0; k < 9; k++) value += w[k] * at(y[k / 3] + (ox * stride + k % 3) * s.channels + c);
      put(d + ox * s.channels + c, value);
      sum += value - from;
      square += (value - from) * (value - from);
    }
    put(sums + c, at(sums + c) + sum);
    put(sums + s.channels + c, at(sums + s.channels + c) + square);
  }
}

// Adds the products of a row of d's gradient and three rows of y to the sums of the taps.
static inline __attribute__((always_inline)) void taps_row(const float *const y[3], const float *g, float *sums, sizes s,
                                                           long stride) {
  for (long c = 0; c < s.channels; c += LANES) {
    floats sum[9];
    for (int k = 0; k < 9; k++) sum[k] = at(sums + k * s.channels + c);
    for (long ox = 0; ox < s.out_width; ox++) {
      floats value = at(g + (ox + 1) * s.channels + c);
#pragma GCC unroll 9
      for (int k = 0; k < 9; k++) sum[k] += value * at(y[k / 3] + (ox * stride + k % 3) * s.channels + c);
    }
    for (int k = 0; k < 9; k++) put(sums + k * s.channels + c, sum[k]);
  }
}

// A row of y's gradient from `n` rows of d's gradient and the taps of each.
static inline __attribute__((always_inline)) void spread_row(const float *const g[3], const float *const taps[3], int n,
                                                             float *to, sizes s, long stride) {
  for (long c = 0; c < s.channels; c += LANES) {
    floats w[9], zero = {0};
    for (int k = 0; k < 3 * n; k++) w[k] = at(taps[k / 3] + k % 3 * s.channels + c);
    if (stride == 1) {
      for (long ix = 0; ix < s.width; ix++) {
        floats value = zero;
#pragma GCC unroll 9
        for (int k = 0; k < 9; k++) value += w[k] * at(g[k / 3] + (ix + 2 - k % 3) * s.channels + c);
        put(to + ix * s.channels + c, value);
      }
    } else {  // an even column gets from the middle tap, an odd one from the outer two
      for (long ix = 0; ix < s.width; ix++) {
        floats value = zero;
        for (int k = 0; k < n; k++) {
          if (ix % 2) value += w[3 * k] * at(g[k] + ((ix + 1) / 2 + 1) * s.channels + c) +
                               w[3 * k + 2] * at(g[k] + ((ix - 1) / 2 + 1) * s.channels + c);
          else value += w[3 * k + 1] * at(g[k] + (ix / 2 + 1) * s.channels + c);
        }
        put(to + ix * s.channels + c, value);
      }
    }
  }
}

// Leaves of y's gradient what passed the activation; adds to the sums of it and of its product with e - mean.
static void mask_row(const element *restrict e, const float *restrict gradient, element *restrict to, norm by,
                     float *restrict sums, long width, long channels) {
  float *products = sums + channels;
  for (long i = 0; i < width; i++)
#pragma omp simd
    for (long c = 0; c < channels; c++) {
      float d = load(e[i * channels + c]) - by.mean[c];
      float g = passed(gradient[i * channels + c], d * by.scale[c] + by.bias[c], by.in);
      to[i * channels + c] = rounded(g);
      sums[c] += g;
      products[c] += g * d;
    }
}

static void add(double *to, const float *from, long count) {
  for (long i = 0; i < count; i++) to[i] += from[i];
}

// d from e, image by image; sums[threads][2][channels] of d - shift.
static int forward_rows(const element *e, element *d, const float *taps, norm by, const float *shift, double *sums,
                        sizes s, int threads) {
  int failed = 0;
#pragma omp parallel for num_threads(threads) schedule(static, 1) reduction(| : failed)
  for (int t = 0; t < threads; t++) {
    float *memory = window_memory(s.width, s.channels), *of_image = malloc(2 * s.channels * sizeof *of_image);
    float *row = malloc(s.out_width * s.channels * sizeof *row);
    if (!memory || !of_image || !row) failed = 1;
    window y = window_in(memory, s.height, s.width, s.channels);
    for (long n = s.images * t / threads; n < s.images * (t + 1) / threads && !failed; n++) {
      const element *image = e + n * s.height * s.width * s.channels;
      memset(of_image, 0, 2 * s.channels * sizeof *of_image);
      for (long oy = 0, made = 0; oy < s.out_height; oy++) {
        long top = oy * s.stride - 1;
        for (; made <= top + 2 && made < s.height; made++)
          normalise_row(image + made * s.width * s.channels, y.rows[made % 3], by, s.width, s.channels);
        const float *rows[3] = {row_of(y, top), row_of(y, top + 1), row_of(y, top + 2)};
        if (s.stride == 1) convolve_row(rows, taps, row, shift, of_image, s, 1);
        else convolve_row(rows, taps, row, shift, of_image, s, 2);
        element *to = d + (n * s.out_height + oy) * s.out_width * s.channels;
        for (long i = 0; i < s.out_width * s.channels; i++) to[i] = rounded(row[i]);
      }
      add(sums + 2 * t * s.channels, of_image, 2 * s.channels);
    }
    free(memory);
    free(of_image);
    free(row);
  }
  return failed;
}

// One row of y's gradient, masked, into `to`.
static void input_row(window g, const float *taps, long iy, const element *e, element *to, norm by, float *row,
                      float *sums, sizes s) {
  const float *from[3], *of[3];
  int n = 0;
  for (long ky = 0; ky < 3; ky++) {
    if ((iy + 1 - ky) % s.stride) continue;
    from[n] = row_of(g, (iy + 1 - ky) / s.stride);
    of[n++] = taps + 3 * ky * s.channels;
  }
  if (s.stride == 1) spread_row(from, of, 3, row, s, 1);
  else spread_row(from, of, n, row, s, 2);
  mask_row(e + iy * s.width * s.channels, row, to + iy * s.width * s.channels, by, sums, s.width, s.channels);
}

// The masked gradient of y into `to`, image by image; sums[threads][11][channels]: its two, and nine of the taps.
static int backward_rows(const element *e, const element *d, const element *dz, element *to, const float *taps, norm first,
                         norm second, double *sums, sizes s, int threads) {
  int failed = 0;
#pragma omp parallel for num_threads(threads) schedule(static, 1) reduction(| : failed)
  for (int t = 0; t < threads; t++) {
    float *of_y = window_memory(s.width, s.channels), *of_g = window_memory(s.out_width, s.channels);
    float *row = malloc(s.width * s.channels * sizeof *row), *of_image = malloc(11 * s.channels * sizeof *of_image);
    if (!of_y || !of_g || !row || !of_image) failed = 1;
    window y = window_in(of_y, s.height, s.width, s.channels);
    window g = window_in(of_g, s.out_height, s.out_width, s.channels);
    for (long n = s.images * t / threads; n < s.images * (t + 1) / threads && !failed; n++) {
      const element *image = e + n * s.height * s.width * s.channels;
      element *target = to + n * s.height * s.width * s.channels;
      long done = 0;
      memset(of_image, 0, 11 * s.channels * sizeof *of_image);
      for (long oy = 0, made = 0; oy < s.out_height; oy++) {
        long top = oy * s.stride - 1, out = (n * s.out_height + oy) * s.out_width * s.channels;
        for (; made <= top + 2 && made < s.height; made++)
          normalise_row(image + made * s.width * s.channels, y.rows[made % 3], first, s.width, s.channels);
        const float *rows[3] = {row_of(y, top), row_of(y, top + 1), row_of(y, top + 2)};
        gradient_row(d + out, dz + out, g.rows[oy % 3], second, s.out_width, s.channels);
        if (s.stride == 1) taps_row(rows, g.rows[oy % 3], of_image + 2 * s.channels, s, 1);
        else taps_row(rows, g.rows[oy % 3], of_image + 2 * s.channels, s, 2);
        // The input rows that need no further row of d's gradient.
        for (long last = s.stride == 1 ? oy - 1 : 2 * oy; done <= last && done < s.height; done++)
          input_row(g, taps, done, image, target, first, row, of_image, s);
      }
      for (; done < s.height; done++) input_row(g, taps, done, image, target, first, row, of_image, s);
      add(sums + 11 * t * s.channels, of_image, 11 * s.channels);
    }
    free(of_y);
    free(of_g);
    free(row);
    free(of_image);
  }
  return failed;
}

static void finish_moments(const double *sums, const float *shift, const float *weight, double eps, long rows,
                           long channels, int threads, long stride, float *mean, float *rstd, float *var,
                           float *scale) {
  for (long c = 0; c < channels; c++) {
    double sum = 0, square = 0;
    for (int t = 0; t < threads; t++) sum += sums[stride * t + c], square += sums[stride * t + channels + c];
    double from_shift = sum / rows, variance = square / rows - from_shift * from_shift;
    variance = variance < 0 ? 0 : variance;
    mean[c] = shift[c] + from_shift;
    var[c] = variance;
    rstd[c] = 1 / __builtin_sqrt(variance + eps);
    scale[c] = weight[c] * rstd[c];
  }
}

// d and z from e. shift[channels] should be near d's mean, else its variance loses digits. Returns 0, or -1 where there
// is no memory.
int norm_depthwise_forward(const element *e, element *d, element *z, long images, long height, long width, long channels,
                           long stride, const float *weight1, const float *bias1, double eps1, float low1, float high1,
                           const float *taps, const float *weight2, const float *bias2, double eps2, float low2,
                           float high2, const float *shift, float *mean1, float *rstd1, float *var1, float *mean2,
                           float *rstd2, float *var2, int threads) {
  sizes s = sizes_of(images, height, width, channels, stride);
  long rows = images * height * width, out_rows = images * s.out_height * s.out_width;
  long fold = rows_in_one(rows, channels), folded = fold * channels;
  double *sums = calloc(2 * folded * threads, sizeof *sums), *out_sums = calloc(2 * channels * threads, sizeof *sums);
  float *wide = malloc((folded + 2 * channels) * sizeof *wide), *scale1 = wide + folded, *scale2 = scale1 + channels;
  int failed = !sums || !out_sums || !wide;
  if (!failed) {
    shape in = {rows / fold, channels, folded, threads};
    for (long c = 0; c < folded; c++) wide[c] = load(e[c % channels]);
    moments(e, wide, sums, in);
    gather(sums, in);
    for (long c = 0; c < channels; c++) sums[channels + c] = sums[folded + c];
    finish_moments(sums, wide, weight1, eps1, rows, channels, 1, 0, mean1, rstd1, var1, scale1);
    norm first = {mean1, scale1, bias1, NULL, NULL, {low1, high1}};
    failed = forward_rows(e, d, taps, first, shift, out_sums, s, threads);
  }
  if (!failed) {
    finish_moments(out_sums, shift, weight2, eps2, out_rows, channels, threads, 2 * channels, mean2, rstd2, var2, scale2);
    normalise(d, z, mean2, scale2, bias2, (range){low2, high2}, (shape){out_rows, channels, channels, threads});
  }
  free(sums);
  free(out_sums);
  free(wide);
  return failed ? -1 : 0;
}

// The gradients of e, the norms and the taps from that of z and what forward was given and left.
int norm_depthwise_backward(const element *e, const element *d, const element *dz, element *de, long images, long height,
                            long width, long channels, long stride, const float *weight1, const float *bias1, float low1,
                            float high1, const float *taps, const float *weight2, const float *bias2, float low2,
                            float high2, const float *mean1, const float *rstd1, const float *mean2, const float *rstd2,
                            float *dweight1, float *dbias1, float *dtaps, float *dweight2, float *dbias2, int threads) {
  sizes s = sizes_of(images, height, width, channels, stride);
  long rows = images * height * width, out_rows = images * s.out_height * s.out_width;
  double *sums = calloc(2 * channels * threads, sizeof *sums), *more = calloc(11 * channels * threads, sizeof *more);
  float *memory = malloc(4 * channels * sizeof *memory), *scale1 = memory, *scale2 = memory + channels;
  float *slope = scale2 + channels, *offset = slope + channels;
  int failed = !sums || !more || !memory;
  if (!failed) {
    for (long c = 0; c < channels; c++) scale1[c] = weight1[c] * rstd1[c], scale2[c] = weight2[c] * rstd2[c];
    shape out = {out_rows, channels, channels, threads};
    gradient_sums(d, dz, mean2, scale2, bias2, sums, (range){low2, high2}, out);
    gather(sums, out);
    for (long c = 0; c < channels; c++) {
      slope[c] = -scale2[c] * rstd2[c] * rstd2[c] * (sums[channels + c] / out_rows);
      offset[c] = -scale2[c] * (sums[c] / out_rows);
      dbias2[c] = sums[c];
      dweight2[c] = sums[channels + c] * rstd2[c];
    }
    norm first = {mean1, scale1, bias1, NULL, NULL, {low1, high1}};
    norm second = {mean2, scale2, bias2, slope, offset, {low2, high2}};
    failed = backward_rows(e, d, dz, de, taps, first, second, more, s, threads);
  }
  if (!failed) {
    for (long c = 0; c < channels; c++) {
      double total[11];
      for (int k = 0; k < 11; k++) {
        total[k] = 0;
        for (int t = 0; t < threads; t++) total[k] += more[(11 * t + k) * channels + c];
      }
      dbias1[c] = total[0];
      dweight1[c] = total[1] * rstd1[c];
      for (int k = 0; k < 9; k++) dtaps[k * channels + c] = total[2 + k];
      slope[c] = -scale1[c] * rstd1[c] * rstd1[c] * (total[1] / rows);
      offset[c] = -scale1[c] * (total[0] / rows);
    }
    // de = g * scale + (e - mean) * slope + offset, where de holds g
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long r = 0; r < rows; r++) {
#pragma omp simd
      for (long c = 0; c < channels; c++) {
        float value = load(e[r * channels + c]) - mean1[c];
        de[r * channels + c] = rounded(load(de[r * channels + c]) * scale1[c] + (value * slope[c] + offset[c]));
      }
    }
  }
  free(sums);
  free(more);
  free(memory);
  return failed ? -1 : 0;
}
