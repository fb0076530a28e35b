/* Comes before everything else in the modules of ps that anthill-sim-canary compiles anew: what
 * they call here is wrong when the canary of that name is chosen. A simulator that does not notice
 * proves nothing. */
#ifndef ANTHILL_TESTS_SIM_CANARY_H
#define ANTHILL_TESTS_SIM_CANARY_H

#include "ps/push_window.h"
#include "tests/sim/sim.h"

/* No push window: every repeat is taken for new. */
static inline bool canary_window_contains(const struct push_window *window, uint64_t sequence)
{
    return sim.canary != CANARY_NO_WINDOW && push_window_contains(window, sequence);
}

#define push_window_contains(window, sequence) canary_window_contains(window, sequence)

#endif
