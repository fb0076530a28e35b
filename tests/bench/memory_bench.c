/* Pull and push over ipc with payloads in shared memory: one client here, one server process with
 * one shard thread, IN_FLIGHT requests. Against the table's own speed: the same requests to the
 * same table in this process. The client's share of a processor is said on stderr. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/rng.h"
#include "common/transport.h"
#include "ps/client/client.h"
#include "ps/pages.h"
#include "ps/table.h"
#include "tests/bench/bench.h"
#include "tests/bench/bench_processes.h"

#define DIM          64u
#define REQUEST_KEYS 16384u
#define IN_FLIGHT    4u
#define REQUESTS     64u
#define BYTES        (REQUEST_KEYS * DIM * sizeof(float))

static const char *const names[2] = {"pull-shm-f32", "push-shm-f32"};

struct memory_bench {
    unsigned requests;
    uint64_t row_count;
    uint64_t *keys; /* [requests, REQUEST_KEYS], no key twice in a request */
    struct client *client;
    uint32_t client_table;
    float *shared[IN_FLIGHT]; /* rows or gradients, of the client's memory */
    struct table *table;
    float *values[IN_FLIGHT];
};

/* One direction, and what the client has used of the processor in all rounds. */
struct direction {
    struct memory_bench *bench;
    bool push;
    double seconds, client_seconds;
};

static double processor_seconds(void)
{
    struct rusage usage;
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

static enum status run_client(void *context, struct error *error)
{
    struct direction *direction = context;
    struct memory_bench *bench = direction->bench;
    uint64_t tickets[IN_FLIGHT], start_ns = clock_now_ns();
    double start = processor_seconds();
    enum status status = STATUS_OK;
    for (unsigned i = 0; i < bench->requests + IN_FLIGHT && status == STATUS_OK; i++) {
        const unsigned place = i % IN_FLIGHT;
        const uint64_t *keys = bench->keys + (size_t)i * REQUEST_KEYS;
        if (i >= IN_FLIGHT) status = client_wait(bench->client, tickets[place], error);
        if (i >= bench->requests || status != STATUS_OK) continue;
        status = direction->push
                     ? client_push(bench->client, bench->client_table, keys, REQUEST_KEYS,
                                   bench->shared[place], 1.0f, &tickets[place], error)
                     : client_pull(bench->client, bench->client_table, keys, REQUEST_KEYS,
                                   bench->shared[place], false, &tickets[place], error);
    }
    direction->client_seconds += processor_seconds() - start;
    direction->seconds += (double)(clock_now_ns() - start_ns) / (double)NS_PER_S;
    return status;
}

static enum status run_table(void *context, struct error *error)
{
    const struct direction *direction = context;
    struct memory_bench *bench = direction->bench;
    enum status status = STATUS_OK;
    for (unsigned i = 0; i < bench->requests && status == STATUS_OK; i++) {
        const uint64_t *keys = bench->keys + (size_t)i * REQUEST_KEYS;
        float *values = bench->values[i % IN_FLIGHT];
        status = direction->push
                     ? table_push(bench->table, keys, REQUEST_KEYS, values, 1.0f, error)
                     : table_pull(bench->table, keys, REQUEST_KEYS, values, false, error);
    }
    return status;
}

static enum status create_rows(struct memory_bench *bench, struct error *error)
{
    Anthill__OptimizerSpec optimizer = ANTHILL__OPTIMIZER_SPEC__INIT;
    optimizer.kind = ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAGRAD;
    optimizer.rate = 0.01f;
    optimizer.epsilon = 1e-10f;
    Anthill__TableSpec spec = ANTHILL__TABLE_SPEC__INIT;
    spec.name = "bench";
    spec.dim = DIM;
    spec.optimizer = &optimizer;
    enum status status = client_table(bench->client, &spec, &bench->client_table, error);
    if (status == STATUS_OK) status = table_create(&bench->table, &spec, error);
    for (unsigned i = 0; i < IN_FLIGHT; i++) {
        bench->shared[i] = client_memory_alloc(bench->client, BYTES);
        CHECK(bench->shared[i] != NULL);
    }
    uint64_t *keys = bench->keys;
    for (uint64_t first = 0; first < bench->row_count && status == STATUS_OK;) {
        uint64_t ticket;
        uint32_t count = 0;
        for (; count < REQUEST_KEYS && first < bench->row_count; count++)
            keys[count] = first++;
        status = client_pull(bench->client, bench->client_table, keys, count, bench->shared[0],
                             false, &ticket, error);
        if (status == STATUS_OK) status = client_wait(bench->client, ticket, error);
        if (status == STATUS_OK)
            status = table_pull(bench->table, keys, count, bench->values[0], false, error);
    }
    return status;
}

static void draw_keys_and_grads(struct memory_bench *bench)
{
    for (unsigned r = 0; r < bench->requests; r++)
        for (uint32_t i = 0; i < REQUEST_KEYS; i++)
            bench->keys[(size_t)r * REQUEST_KEYS + i] = rng_permute(r + 1, bench->row_count, i);
    for (unsigned place = 0; place < IN_FLIGHT; place++)
        for (uint32_t i = 0; i < REQUEST_KEYS * DIM; i++)
            bench->shared[place][i] = bench->values[place][i] = (float)(i % 13) * 1e-3f - 6e-3f;
}

static enum status measure(struct bench *bench, struct memory_bench *memory, struct error *error)
{
    struct direction directions[2] = {{memory, false, 0, 0}, {memory, true, 0, 0}};
    for (unsigned i = 0; i < 2; i++) {
        if (!bench_wants(bench, names[i])) continue;
        struct direction *direction = &directions[i];
        struct bench_step steps[] = {{run_client, direction, 0}, {run_table, direction, 0}};
        draw_keys_and_grads(memory);
        enum status status = bench_alternate(steps, 2, bench_rounds(bench, 15), error);
        if (status != STATUS_OK) return status;
        const double rows = (double)REQUEST_KEYS * memory->requests;
        bench_report(bench, names[i], rows / steps[0].seconds, "rows/s", rows / steps[1].seconds);
        fprintf(stderr, "%s: the client uses %.1f %% of a processor\n", names[i],
                100 * direction->client_seconds / direction->seconds);
    }
    return STATUS_OK;
}

static enum status measure_with_server(struct bench *bench, struct memory_bench *memory,
                                       struct error *error)
{
    struct bench_processes run;
    bench_processes_init(&run, bench);
    bench_processes_set(&run, "network.transport=ipc");
    bench_processes_set(&run, "network.timeout_seconds=3600"); /* no worker ever comes */
    bench_processes_set(&run, "servers.count=1");
    char endpoint[FILE_PATH_BYTES];
    CHECK(file_path(endpoint, NULL, "ipc://%s/coordinator", run.folder) == STATUS_OK);
    enum status status = bench_processes_coordinator(&run, endpoint, error);
    const struct client_options options = {
        .coordinator = run.endpoint, .name = "bench", .timeout_ns = 60 * NS_PER_S};
    if (status == STATUS_OK) {
        bench_processes_add(&run, "anthill-ps", "serve", "--server", "0");
        status = client_open(&memory->client, &options, error);
    }
    if (status == STATUS_OK) status = create_rows(memory, error);
    if (status == STATUS_OK) status = measure(bench, memory, error);
    client_close(memory->client);
    bench_processes_deinit(&run);
    return status;
}

enum status memory_cases(struct bench *bench, struct error *error)
{
    if (!bench_wants(bench, names[0]) && !bench_wants(bench, names[1])) return STATUS_OK;
    struct memory_bench memory = {.requests = bench->quick ? 6 : REQUESTS,
                                  .row_count = bench->quick ? 40000 : 4000000};
    memory.keys = malloc(memory.requests * (size_t)REQUEST_KEYS * sizeof *memory.keys);
    CHECK(memory.keys != NULL);
    for (unsigned i = 0; i < IN_FLIGHT; i++) {
        memory.values[i] = pages_alloc(BYTES);
        CHECK(memory.values[i] != NULL);
    }
    enum status status = measure_with_server(bench, &memory, error);
    transport_shutdown();
    table_destroy(memory.table);
    for (unsigned i = 0; i < IN_FLIGHT; i++)
        pages_free(memory.values[i], BYTES);
    free(memory.keys);
    return status;
}
