/* How hot loops over rows of floats are compiled: once per instruction set (KERNEL_CLONES), in
 * pieces of eight floats. */
#ifndef ANTHILL_WORKER_OPS_KERNEL_H
#define ANTHILL_WORKER_OPS_KERNEL_H

#include "common/kernel_clones.h"

/* Eight floats that the compiler keeps in registers (two, where those are of 128 bits). Written
 * out, because gcc does not find the best form of nested sums over rows by itself. */
typedef float kernel_vector __attribute__((vector_size(32), aligned(4), may_alias));
#define KERNEL_VECTOR_FLOATS 8

#endif
