#include "tests/bench/ps_load.h"

#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/clock.h"

#define FILL_KEYS  16384u
#define TIMEOUT_NS (60 * NS_PER_S)
/* Of a run with trainers: more than any bench reports as done. */
#define SEEDS 1000000u

void ps_load_spec(Anthill__TableSpec *spec, Anthill__OptimizerSpec *optimizer, uint32_t dim)
{
    *optimizer = (Anthill__OptimizerSpec)ANTHILL__OPTIMIZER_SPEC__INIT;
    optimizer->kind = ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAGRAD;
    optimizer->rate = 0.01f;
    optimizer->epsilon = 1e-10f;
    *spec = (Anthill__TableSpec)ANTHILL__TABLE_SPEC__INIT;
    spec->name = "bench";
    spec->dim = dim;
    spec->init = ANTHILL__INIT_KIND__INIT_UNIFORM;
    spec->init_scale = 0.05f;
    spec->optimizer = optimizer;
}

void ps_load_init(struct ps_load *load, const struct bench *bench, const struct ps_setting *setting)
{
    *load = (struct ps_load){.setting = *setting};
    CHECK(setting->workers <= PS_WORKERS_MAX && setting->in_flight <= PS_IN_FLIGHT_MAX);
    bench_processes_init(&load->run, bench);
    bench_processes_set(&load->run, "network.transport=%s",
                        setting->transport == PS_TCP ? "tcp" : "ipc");
    bench_processes_set(&load->run, "network.timeout_seconds=3600"); /* no worker need come */
    bench_processes_set(&load->run, "servers.count=%u", setting->servers);
    bench_processes_set(&load->run, "servers.shards=%u", setting->shards);
    bench_processes_set(&load->run, "servers.replicas=%u", setting->replicas);
}

static enum status create_rows(struct ps_load *load, struct error *error)
{
    struct ps_worker *worker = &load->workers[0];
    const struct ps_setting *setting = &load->setting;
    uint64_t *keys = malloc(FILL_KEYS * sizeof *keys);
    float *rows = malloc((size_t)FILL_KEYS * setting->dim * sizeof *rows);
    enum status status = STATUS_OK;
    CHECK(keys != NULL && rows != NULL);
    for (uint64_t first = 0; first < setting->row_count && status == STATUS_OK;) {
        uint64_t ticket;
        uint32_t count = 0;
        for (; count < FILL_KEYS && first < setting->row_count; count++)
            keys[count] = first++;
        status =
            client_pull(worker->client, worker->table, keys, count, rows, false, &ticket, error);
        if (status == STATUS_OK) status = client_wait(worker->client, ticket, error);
    }
    free(keys);
    free(rows);
    return status;
}

static float *alloc_floats(struct client *client, const struct ps_setting *setting, size_t floats)
{
    const size_t bytes = floats * sizeof(float);
    float *memory =
        setting->transport == PS_SHM ? client_memory_alloc(client, bytes) : calloc(1, bytes);
    CHECK(memory != NULL);
    return memory;
}

static enum status open_worker(struct ps_load *load, unsigned index, struct error *error)
{
    struct ps_worker *worker = &load->workers[index];
    const struct ps_setting *setting = &load->setting;
    const size_t floats = (size_t)setting->keys * setting->dim;
    const struct client_options options = {.coordinator = load->run.endpoint,
                                           .name = "bench",
                                           .timeout_ns = TIMEOUT_NS,
                                           .trains = setting->trains,
                                           .seed_count = setting->trains ? SEEDS : 0};
    Anthill__OptimizerSpec optimizer;
    Anthill__TableSpec spec;
    ps_load_spec(&spec, &optimizer, setting->dim);
    enum status status = client_open(&worker->client, &options, error);
    if (status == STATUS_OK) status = client_table(worker->client, &spec, &worker->table, error);
    if (status != STATUS_OK) return status;
    request_stream_init(&worker->stream, index + 1, setting->row_count, setting->requests,
                        setting->keys, setting->zipf);
    for (unsigned i = 0; i < setting->in_flight; i++) {
        worker->rows[i] = alloc_floats(worker->client, setting, floats);
        worker->grads[i] = alloc_floats(worker->client, setting, floats);
        ps_load_fill_grads(worker->grads[i], floats);
    }
    return STATUS_OK;
}

enum status ps_load_start(struct ps_load *load, struct error *error)
{
    char endpoint[FILE_PATH_BYTES] = "tcp://127.0.0.1:*";
    if (load->setting.transport != PS_TCP)
        CHECK(file_path(endpoint, NULL, "ipc://%s/coordinator", load->run.folder) == STATUS_OK);
    enum status status = bench_processes_coordinator(&load->run, endpoint, error);
    if (status != STATUS_OK) return status;
    static const char *const numbers[] = {"0", "1"};
    CHECK(load->setting.servers <= sizeof numbers / sizeof *numbers);
    for (unsigned i = 0; i < load->setting.servers; i++)
        bench_processes_add(&load->run, "anthill-ps", "serve", "--server", numbers[i]);
    for (unsigned i = 0; i < load->setting.workers && status == STATUS_OK; i++)
        status = open_worker(load, i, error);
    if (status == STATUS_OK) status = create_rows(load, error);
    return status;
}

/* Memory of a client goes with it. */
void ps_load_deinit(struct ps_load *load)
{
    for (unsigned i = 0; i < load->setting.workers; i++) {
        struct ps_worker *worker = &load->workers[i];
        client_close(worker->client);
        for (unsigned j = 0; j < PS_IN_FLIGHT_MAX && load->setting.transport != PS_SHM; j++) {
            free(worker->rows[j]);
            free(worker->grads[j]);
        }
        request_stream_deinit(&worker->stream);
    }
    bench_processes_deinit(&load->run);
}

double ps_load_server_seconds(const struct ps_load *load)
{
    double seconds = 0;
    for (unsigned i = 1; i < load->run.count; i++)
        seconds += process_seconds(load->run.items[i].pid);
    return seconds;
}

void ps_counts_deinit(struct ps_counts *counts)
{
    for (unsigned i = 0; i < PS_WORKERS_MAX; i++)
        latencies_deinit(&counts->latencies[i]);
}

/* ---- a step -----------------------------------------------------------------------------------
 */

struct worker_run {
    struct ps_worker *worker;
    unsigned in_flight;
    bool push;
    Anthill__Encoding encoding;
    struct latencies *latencies;
    enum status status;
    struct error error;
};

static void begin(struct worker_run *run, unsigned request, uint64_t *ticket)
{
    struct ps_worker *worker = run->worker;
    const uint64_t *keys = request_stream_keys(&worker->stream, request);
    const uint32_t count = worker->stream.counts[request];
    const unsigned place = request % run->in_flight;
    run->status = run->push ? client_push(worker->client, worker->table, keys, count,
                                          worker->grads[place], 1.0f, ticket, &run->error)
                            : client_pull(worker->client, worker->table, keys, count,
                                          worker->rows[place], false, ticket, &run->error);
}

/* A request's time ends when it is waited for, in the order of their beginning. */
static void run_worker(void *context)
{
    struct worker_run *run = context;
    struct ps_worker *worker = run->worker;
    const unsigned requests = worker->stream.requests;
    uint64_t tickets[PS_IN_FLIGHT_MAX], began_ns[PS_IN_FLIGHT_MAX];
    run->status = client_set_encoding(worker->client, worker->table, run->encoding, &run->error);
    for (unsigned i = 0; i < requests + run->in_flight && run->status == STATUS_OK; i++) {
        const unsigned place = i % run->in_flight;
        if (i >= run->in_flight) {
            run->status = client_wait(worker->client, tickets[place], &run->error);
            latencies_add(run->latencies, seconds_between(began_ns[place], clock_now_ns()));
        }
        if (i >= requests || run->status != STATUS_OK) continue;
        began_ns[place] = clock_now_ns();
        begin(run, i, &tickets[place]);
    }
}

enum status ps_load_run(struct ps_load *load, bool push, Anthill__Encoding encoding,
                        struct ps_counts *counts, struct error *error)
{
    struct worker_run runs[PS_WORKERS_MAX];
    void *contexts[PS_WORKERS_MAX];
    const unsigned workers = load->setting.workers;
    for (unsigned i = 0; i < workers; i++) {
        runs[i] = (struct worker_run){.worker = &load->workers[i],
                                      .in_flight = load->setting.in_flight,
                                      .push = push,
                                      .encoding = encoding,
                                      .latencies = &counts->latencies[i]};
        contexts[i] = &runs[i];
        if (counts->runs == 1) latencies_clear(&counts->latencies[i]);
    }
    const double client_seconds = process_seconds(0), server_seconds = ps_load_server_seconds(load);
    const uint64_t start_ns = clock_now_ns();
    bench_parallel(run_worker, contexts, workers);
    if (counts->runs++ > 0) {
        counts->seconds += seconds_between(start_ns, clock_now_ns());
        counts->client_seconds += process_seconds(0) - client_seconds;
        counts->server_seconds += ps_load_server_seconds(load) - server_seconds;
        for (unsigned i = 0; i < workers; i++)
            counts->rows += request_stream_rows(&load->workers[i].stream);
    }
    for (unsigned i = 0; i < workers; i++) {
        if (runs[i].status == STATUS_OK) continue;
        *error = runs[i].error;
        return runs[i].status;
    }
    return STATUS_OK;
}
