#ifndef ANTHILL_TESTS_FUZZ_STATE_SEEDS_H
#define ANTHILL_TESTS_FUZZ_STATE_SEEDS_H

/* Writes CORPUS/coordinator_state. In a file of its own, since the fixtures of the coordinator and
 * of shards share names. */
void state_seeds(const char *corpus);

#endif
