/* Who trains and how far each has come: decides whether a pull may be answered. Pure.
 *
 * A trainer's clock counts the steps it has pushed. The slowest trainer's clock never goes back:
 * who enters late enters there, and it stays where it was while nobody trains. */
#ifndef ANTHILL_PS_STALENESS_H
#define ANTHILL_PS_STALENESS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/status.h"

struct trainer {
    uint64_t session, clock;
};

/* Zero-initialised: nobody trains. */
struct staleness {
    struct trainer *trainers;
    uint32_t count, capacity;
    uint64_t clock_min;
};

void staleness_deinit(struct staleness *staleness);

/* `session` has pushed all of the clocks before `clock`; a lower clock than it has changes nothing.
 * A session that was not training enters at the later of `clock` and clock_min.
 *   errors   STATUS_NOMEM */
enum status staleness_advance(struct staleness *staleness, uint64_t session,
                              uint64_t clock) MUST_CHECK;

/* The slowest trainer's clock is not below `clock`: what a copy is told before the trainers. */
void staleness_raise(struct staleness *staleness, uint64_t clock);

/* It holds nobody up any more. A session that does not train: nothing happens. */
void staleness_leave(struct staleness *staleness, uint64_t session);

/* True when the session trains. */
bool staleness_trains(const struct staleness *staleness, uint64_t session);

/* The session's clock; clock_min when it does not train. */
uint64_t staleness_clock(const struct staleness *staleness, uint64_t session);

/* True when every trainer's clock is at least clock - bound; so always when nobody trains. */
bool staleness_allows(const struct staleness *staleness, uint64_t clock, uint64_t bound);

#endif
