/* Zeroed memory in whole pages straight from the kernel, in huge pages where it has them: tables
 * are read at random, and small pages cost a third of the speed there. */
#ifndef ANTHILL_PS_PAGES_H
#define ANTHILL_PS_PAGES_H

#include <stddef.h>

/* `bytes` of zeroed memory aligned to at least 4,096 (to 2 MiB from that size on), committed when
 * it is touched. bytes > 0.
 *   errors   NULL when memory is used up
 *   owner    returns owned; pages_free with the same size */
void *pages_alloc(size_t bytes);

/* NULL does nothing. */
void pages_free(void *memory, size_t bytes);

#endif
