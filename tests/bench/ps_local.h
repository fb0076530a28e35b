/* The limit of shared memory: the requests that workers send to shards, made to tables in this
 * process. Each shard is a thread with a table of the rows that it owns; rows are owned by their
 * keys' remainders, not by the slots of real shards. */
#ifndef ANTHILL_TESTS_BENCH_PS_LOCAL_H
#define ANTHILL_TESTS_BENCH_PS_LOCAL_H

#include "ps/table.h"
#include "tests/bench/ps_load.h"

#define PS_LOCAL_MAX BENCH_THREADS_MAX

struct ps_local_shard {
    struct table *table;
    struct request_stream streams[PS_WORKERS_MAX];
    float *rows[PS_IN_FLIGHT_MAX], *grads[PS_IN_FLIGHT_MAX];
    size_t bytes; /* of each */
    unsigned workers, in_flight;
    bool push;
    enum status status;
    struct error error;
};

struct ps_local {
    struct ps_local_shard shards[PS_LOCAL_MAX];
    unsigned count;
};

/* Tables with the rows of `load` and its workers' requests. */
enum status ps_local_init(struct ps_local *local, const struct ps_load *load,
                          struct error *error) MUST_CHECK;
void ps_local_deinit(struct ps_local *local);

/* All requests of all workers once. */
enum status ps_local_run(struct ps_local *local, bool push, struct error *error) MUST_CHECK;

#endif
