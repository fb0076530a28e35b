/* bsp: the gradients of a clock that not every trainer has finished, summed by key, for one table.
 * Pure. */
#ifndef ANTHILL_PS_GRADIENT_SUMS_H
#define ANTHILL_PS_GRADIENT_SUMS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "ps/table.h"
#include "ps/table_index.h"

/* Pushes may run so many clocks ahead of those that are applied. */
#define GRADIENT_CLOCKS_MAX 64u

struct gradient_sum {
    uint64_t key;
    float *sum; /* owned */
    uint32_t floats;
    bool used; /* false: made for a push that was refused */
};

struct clock_sums {
    uint64_t clock;
    float rate_scale; /* the highest of the pushes: does not depend on their order */
    struct table_index index;
    struct gradient_sum *sums;
    uint32_t count, capacity;
};

/* Zero-initialised is empty. */
struct gradient_sums {
    struct clock_sums *clocks; /* ascending */
    uint32_t count;
    struct apply_buffer *buffer; /* private; there before anything is summed */
};

void gradient_sums_deinit(struct gradient_sums *sums);

/* Adds a push that passed table_push_prepare.
 *   errors   STATUS_BUSY when it is too many clocks ahead, STATUS_NOMEM; nothing is added then */
enum status gradient_sums_add(struct gradient_sums *sums, const struct table *table, uint64_t clock,
                              float rate_scale, const uint64_unaligned *keys, uint32_t key_count,
                              const float_unaligned *grads, struct error *error) MUST_CHECK;

/* Pushes what clocks before `clock` hold into `table`, clock by clock, keys ascending, so that the
 * result depends on the sums alone, and forgets it. clock UINT64_MAX: all of them. Sums that
 * overflowed are dropped. returns  the number of keys dropped */
uint64_t gradient_sums_apply(struct gradient_sums *sums, struct table *table, uint64_t clock);

/* True when there are sums of clocks before `clock` (UINT64_MAX: any). */
bool gradient_sums_due(const struct gradient_sums *sums, uint64_t clock);

/* Forgets them: they are in the rows already. */
void gradient_sums_drop(struct gradient_sums *sums, uint64_t clock);

#endif
