/* Picks OpenBLAS's kernel family for this processor and makes sure that it took. Debian 12's
 * OpenBLAS 0.3.21 does not know recent processors and silently takes SSE3 kernels, several times
 * slower; OPENBLAS_CORETYPE chooses the family, but only before the library is loaded. */
#ifndef ANTHILL_COMMON_BLAS_H
#define ANTHILL_COMMON_BLAS_H

#include "common/error.h"

/* Call first in main. When OpenBLAS runs another family than the best that CPUID shows, sets
 * OPENBLAS_CORETYPE and starts this program again (once, guarded by an environment variable).
 * A family that the user set in OPENBLAS_CORETYPE stands (an empty value counts as unset).
 * Warns on stderr when SSE3 kernels remain on a processor that has AVX2. */
void blas_start(char **argv);

/* The family in use: "SkylakeX", "Haswell", ... */
const char *blas_family(void);

/* What blas_start wants on this processor. Pure: for tests. */
const char *blas_family_wanted(void);

#endif
