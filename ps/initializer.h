/* First values of rows, as a function of (kind, scale, stream key, element) and nothing else: equal
 * on every server, after every restart, in any order of requests, for any cut into chunks. Pure.
 *
 * Logarithm, sine and cosine are polynomials of its own, because libm's results may differ between
 * processors in the last bit. */
#ifndef ANTHILL_PS_INITIALIZER_H
#define ANTHILL_PS_INITIALIZER_H

#include <stdint.h>

#include "common/wire.pb-c.h"

/* Writes elements [first, first + count) of the stream `stream` into values[count].
 *   source   Box and Muller 1958 for INIT_NORMAL */
void initializer_fill(Anthill__InitKind kind, float scale, uint64_t stream, uint64_t first,
                      float *values, uint32_t count);

#endif
