/* Servers of the shipped programs that hold one table of rows with Adagrad's state, and clients in
 * this process, each on a thread of its own, that pull and push it. */
#ifndef ANTHILL_TESTS_BENCH_PS_LOAD_H
#define ANTHILL_TESTS_BENCH_PS_LOAD_H

#include "ps/client/client.h"
#include "tests/bench/bench.h"
#include "tests/bench/bench_measure.h"
#include "tests/bench/bench_processes.h"
#include "tests/bench/request_stream.h"

#define PS_WORKERS_MAX   BENCH_THREADS_MAX
#define PS_IN_FLIGHT_MAX 4u

/* Over ipc payloads are frames as over tcp; PS_SHM: over ipc, with rows and gradients in memory
 * that the shards reach. */
enum ps_transport { PS_TCP, PS_IPC, PS_SHM };

struct ps_setting {
    enum ps_transport transport;
    unsigned servers, shards; /* threads of each server */
    unsigned replicas;        /* 2: each row has a copy on another server */
    unsigned workers;
    uint32_t dim;
    uint64_t row_count;
    unsigned requests; /* of a worker, in a step */
    uint32_t keys;     /* of a request */
    bool zipf;
    unsigned in_flight; /* requests of a worker */
    bool trains;        /* clients are trainers: the coordinator gives them leases */
};

struct ps_worker {
    struct client *client;
    uint32_t table;
    struct request_stream stream;
    float *rows[PS_IN_FLIGHT_MAX], *grads[PS_IN_FLIGHT_MAX]; /* of requests under way */
};

struct ps_load {
    struct ps_setting setting;
    struct bench_processes run;
    struct ps_worker workers[PS_WORKERS_MAX];
};

/* The spec of the table; `optimizer` is its own. Rows are random from the start, as those of models
 * are: zeros would be an easy case for encodings. */
void ps_load_spec(Anthill__TableSpec *spec, Anthill__OptimizerSpec *optimizer, uint32_t dim);

/* Settings of the processes may be added between these two: init, then start. */
void ps_load_init(struct ps_load *load, const struct bench *bench,
                  const struct ps_setting *setting);
/* Starts everything, creates all rows and draws the workers' requests.
 *   errors   of processes and clients */
enum status ps_load_start(struct ps_load *load, struct error *error) MUST_CHECK;
void ps_load_deinit(struct ps_load *load);

/* What a step has used; zero-initialised is empty. */
struct ps_counts {
    struct latencies latencies[PS_WORKERS_MAX]; /* of each worker's requests */
    double seconds, client_seconds, server_seconds;
    uint64_t rows;
    unsigned runs;
};

void ps_counts_deinit(struct ps_counts *counts);

/* Every worker sends its requests once. All but the first run with the same `counts` are counted.
 *   errors   of client_wait */
enum status ps_load_run(struct ps_load *load, bool push, Anthill__Encoding encoding,
                        struct ps_counts *counts, struct error *error) MUST_CHECK;

/* The gradients that all requests push, also those to tables in this process. */
static inline void ps_load_fill_grads(float *grads, size_t floats)
{
    for (size_t i = 0; i < floats; i++)
        grads[i] = (float)(i % 13) * 1e-3f - 6e-3f;
}

/* Processor time that the servers have used so far. */
double ps_load_server_seconds(const struct ps_load *load);

#endif
