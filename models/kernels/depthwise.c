// Gradients of a depthwise 3x3 convolution with padding 1, of channels_last tensors with a multiple of 16 channels.
// Elements are bfloat16 (ELEMENT_BITS 16) or float (32).
//
// Sums are float over a block of rows, double beyond. They depend on the number of threads, on nothing else.

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vectors.h"

enum { CACHED = 1 << 16 };  // elements of the input that a block of rows may have

#if ELEMENT_BITS == 16
typedef uint16_t element;  // bfloat16
typedef uint16_t halves __attribute__((vector_size(2 * LANES)));
typedef uint32_t bits __attribute__((vector_size(4 * LANES)));

static inline floats load(const element *from) {
  halves h;
  memcpy(&h, from, sizeof h);
  return (floats)(__builtin_convertvector(h, bits) << 16);
}
static inline void store(element *to, floats values) {  // rounded to nearest, ties to even
  bits b = (bits)values, number = (bits)(values == values);
  b = (b + 0x7FFF + ((b >> 16) & 1)) >> 16;
  halves h = __builtin_convertvector((b & number) | (0x7FC0 & ~number), halves);
  memcpy(to, &h, sizeof h);
}
#else
typedef float element;

static inline floats load(const element *from) { return at(from); }
static inline void store(element *to, floats values) { put(to, values); }
#endif

typedef struct { long height, width, channels, out_height, out_width; } shape;

#if ELEMENT_BITS == 16

// One kernel row, whose three taps meet an output row and an input row: adds to their sums, for LANES channels.
static inline __attribute__((always_inline)) void row_weights(const element *x, const element *dy, shape s,
                                                              long stride, floats sum[3]) {
  floats zero = {0}, left = zero, middle = load(x), right;
  for (long ox = 0; ox < s.out_width; ox++) {
    long ix = ox * stride;
    if (stride > 1) middle = load(x + ix * s.channels);
    right = ix + 1 < s.width ? load(x + (ix + 1) * s.channels) : zero;
    floats g = load(dy + ox * s.channels);
    sum[0] += g * left;
    sum[1] += g * middle;
    sum[2] += g * right;
    left = stride > 1 ? right : middle;
    middle = right;
  }
}

// The output rows from `first` to `last` of one image, which stay in the cache while the channels are walked through.
static inline __attribute__((always_inline)) void block_weights(const element *x, const element *dy,
                                                                const element *zeros, shape s, long stride, long first,
                                                                long last, double *to) {
  (void)zeros;  // a row that the image lacks is left out
  for (long c = 0; c < s.channels; c += LANES)
    for (long ky = 0; ky < 3; ky++) {
      floats zero = {0}, sum[3] = {zero, zero, zero};
      for (long oy = first; oy < last; oy++) {
        long iy = oy * stride + ky - 1;
        if (iy < 0 || iy >= s.height) continue;
        row_weights(x + iy * s.width * s.channels + c, dy + oy * s.out_width * s.channels + c, s, stride, sum);
      }
      for (int tap = 0; tap < 3; tap++)
        for (int lane = 0; lane < LANES; lane++) to[(3 * ky + tap) * s.channels + c + lane] += sum[tap][lane];
    }
}

#else

// One output pixel: adds the products of its gradient and the input under the kernel's columns from `begin` to `end`.
static inline __attribute__((always_inline)) void pixel_weights(const element *const row[3], const element *dy, long ix,
                                                                long channels, int begin, int end, floats sum[9]) {
  floats g = load(dy);
#pragma GCC unroll 3
  for (int ky = 0; ky < 3; ky++)
#pragma GCC unroll 3
    for (int kx = begin; kx < end; kx++) sum[3 * ky + kx] += g * load(row[ky] + (ix + kx) * channels);
}

// As above. Loading floats is cheap, so all nine sums stay in registers and the input is walked through once.
static inline __attribute__((always_inline)) void block_weights(const element *x, const element *dy,
                                                                const element *zeros, shape s, long stride, long first,
                                                                long last, double *to) {
  long end = s.out_width - 1, step = s.channels;  // the last column may lack its right neighbour
  for (long c = 0; c < s.channels; c += LANES) {
    floats zero = {0}, sum[9] = {zero, zero, zero, zero, zero, zero, zero, zero, zero};
    for (long oy = first; oy < last; oy++) {
      const element *row[3], *g = dy + oy * s.out_width * step + c;
      for (int ky = 0; ky < 3; ky++) {
        long iy = oy * stride + ky - 1;
        row[ky] = (iy < 0 || iy >= s.height ? zeros : x + iy * s.width * step) + c;
      }
      pixel_weights(row, g, -1, step, 1, s.width > 1 ? 3 : 2, sum);
      for (long ox = 1; ox < end; ox++) pixel_weights(row, g + ox * step, ox * stride - 1, step, 0, 3, sum);
      if (end > 0 && end * stride + 1 < s.width) pixel_weights(row, g + end * step, end * stride - 1, step, 0, 3, sum);
      else if (end > 0) pixel_weights(row, g + end * step, end * stride - 1, step, 0, 2, sum);
    }
    for (int tap = 0; tap < 9; tap++)
      for (int lane = 0; lane < LANES; lane++) to[tap * s.channels + c + lane] += sum[tap][lane];
  }
}

#endif

// dw[9][channels] from the input x and the output's gradient dy. Returns 0, or -1 where there is no memory for sums.
int depthwise_weights(const element *x, const element *dy, float *dw, long images, long height, long width,
                      long channels, long stride, int threads) {
  shape s = {height, width, channels, (height - 1) / stride + 1, (width - 1) / stride + 1};
  long in_block = CACHED / (stride * width * channels) + 1, in_image = (s.out_height - 1) / in_block + 1;
  double *sums = calloc(9 * channels * threads, sizeof *sums);
  element *zeros = calloc(width * channels, sizeof *zeros);  // the rows above and below an image
  if (!sums || !zeros) { free(sums); free(zeros); return -1; }
#pragma omp parallel for num_threads(threads) schedule(static, 1)
  for (int t = 0; t < threads; t++)
    for (long b = images * in_image * t / threads; b < images * in_image * (t + 1) / threads; b++) {
      long image = b / in_image, first = b % in_image * in_block;
      long last = first + in_block < s.out_height ? first + in_block : s.out_height;
      const element *of_x = x + image * height * width * channels;
      const element *of_dy = dy + image * s.out_height * s.out_width * channels;
      double *to = sums + 9 * t * channels;
      if (stride == 1) block_weights(of_x, of_dy, zeros, s, 1, first, last, to);
      else block_weights(of_x, of_dy, zeros, s, 2, first, last, to);
    }
  for (long at = 0; at < 9 * channels; at++) {
    double total = 0;
    for (int t = 0; t < threads; t++) total += sums[9 * t * channels + at];
    dw[at] = total;
  }
  free(sums);
  free(zeros);
  return 0;
}

// dx from the output's gradient dy and w[9][channels], for stride 2. A pixel in an even row gets from the kernel's
// middle row, one in an odd row from its outer ones; along a row likewise.
int depthwise_images(const element *dy, const float *w, element *dx, long images, long height, long width,
                     long channels, int threads) {
  long out_height = (height - 1) / 2 + 1, out_width = (width - 1) / 2 + 1;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (long r = 0; r < images * height; r++) {
    long iy = r % height, image = r / height;
    for (long c = 0; c < channels; c += LANES) {
      floats zero = {0}, weights[2][3];
      const element *from[2];
      int n = 0;
      for (long ky = 0; ky < 3; ky++) {
        long oy = (iy + 1 - ky) / 2;
        if ((iy + 1 - ky) % 2 || oy >= out_height) continue;
        for (long kx = 0; kx < 3; kx++) memcpy(&weights[n][kx], w + (3 * ky + kx) * channels + c, sizeof zero);
        from[n++] = dy + (image * out_height + oy) * out_width * channels + c;
      }
      element *to = dx + r * width * channels + c;
      for (long ox = 0; ox < out_width; ox++) {
        floats even = zero, odd = zero;
        for (int k = 0; k < n; k++) {
          floats here = load(from[k] + ox * channels);
          floats next = ox + 1 < out_width ? load(from[k] + (ox + 1) * channels) : zero;
          even += here * weights[k][1];
          odd += here * weights[k][2] + next * weights[k][0];
        }
        store(to + 2 * ox * channels, even);
        if (2 * ox + 1 < width) store(to + (2 * ox + 1) * channels, odd);
      }
    }
  }
  return 0;
}
