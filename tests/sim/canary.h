/* Comes before everything else in the modules of ps that anthill-sim-canary compiles anew: what
 * they call here is wrong when the canary of that name is chosen. A simulator that does not notice
 * proves nothing. */
#ifndef ANTHILL_TESTS_SIM_CANARY_H
#define ANTHILL_TESTS_SIM_CANARY_H

#include "ps/push_window.h"
#include "ps/shard.h"
#include "tests/sim/sim.h"

/* No push window: every repeat is taken for new. */
static inline bool canary_window_contains(const struct push_window *window, uint64_t sequence)
{
    return sim.canary != CANARY_NO_WINDOW && push_window_contains(window, sequence);
}

/* Answers do not wait for the backup: what is numbered is not, once it was handled. */
static inline void canary_handle(struct shard *shard, uint64_t now_ns,
                                 const struct message *message, struct outbox *outbox)
{
    shard_handle(shard, now_ns, message, outbox);
    if (sim.canary == CANARY_EARLY_ANSWER) message->envelope->sequence = 0;
}

#define push_window_contains(window, sequence)       canary_window_contains(window, sequence)
#define shard_handle(shard, now_ns, message, outbox) canary_handle(shard, now_ns, message, outbox)

#endif
