/* Numbers where a received frame left them: at any byte. Anyone in ps may include this file. */
#ifndef ANTHILL_PS_UNALIGNED_H
#define ANTHILL_PS_UNALIGNED_H

#include <stdint.h>

typedef float float_unaligned __attribute__((aligned(1), may_alias));
typedef uint64_t uint64_unaligned __attribute__((aligned(1), may_alias));

#endif
