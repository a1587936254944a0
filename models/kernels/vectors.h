// Vectors of float, as wide as the widest that gcc keeps in one register.

#include <string.h>

#if ELEMENT_BITS == 16 || defined(__AVX512F__)  // bfloat16 is only used where AVX-512 is
enum { LANES = 16 };
#elif defined(__AVX__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif
typedef float floats __attribute__((vector_size(4 * LANES)));

static inline floats at(const float *from) {
  floats f;
  memcpy(&f, from, sizeof f);
  return f;
}
static inline void put(float *to, floats values) { memcpy(to, &values, sizeof values); }
