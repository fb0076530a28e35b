/* Pull and push through servers: the named cases, and the matrix, which varies one thing at a time
 * around them. A group of cases has one run of servers; its cases and their limits run in turn.
 * Over tcp and ipc the limit is the bare exchange of the same frames, with shared memory the same
 * requests to tables in this process. */
#include <stdio.h>
#include <string.h>

#include "common/check.h"
#include "common/transport.h"
#include "ps/row_codec.h"
#include "tests/bench/bare_exchange.h"
#include "tests/bench/ps_load.h"
#include "tests/bench/ps_local.h"

#define GROUP_CASES_MAX 6u
#define CASE_NAME_BYTES 32u
#define F32             ANTHILL__ENCODING__ENCODING_F32
#define BF16            ANTHILL__ENCODING__ENCODING_BF16
#define INT8            ANTHILL__ENCODING__ENCODING_INT8

static const char *const transport_names[] = {"tcp", "ipc", "shm"};
static const char *const encoding_names[] = {"f32", "bf16", "int8"};

/* What all settings are, but for what a group says. */
static const struct ps_setting base = {.transport = PS_TCP,
                                       .servers = 1,
                                       .shards = 1,
                                       .replicas = 1,
                                       .workers = 1,
                                       .dim = 64,
                                       .row_count = 4000000,
                                       .requests = 64,
                                       .keys = 16384,
                                       .in_flight = 4};

struct direction {
    bool push;
    Anthill__Encoding encoding;
};

struct group {
    struct ps_setting setting;
    const char *suffix;  /* of the cases' names */
    const char *latency; /* the name of the only case, whose value is a latency; or NULL */
    struct direction directions[GROUP_CASES_MAX];
    unsigned direction_count, rounds;
};

struct group_run {
    const struct group *group;
    struct ps_load load;
    struct bare_ends ends;                      /* tcp, ipc */
    struct bare_client clients[PS_WORKERS_MAX]; /* the same */
    struct ps_local local;                      /* shm */
};

struct case_run {
    struct group_run *run;
    struct direction direction;
    char name[CASE_NAME_BYTES];
    struct ps_counts counts;
    struct latencies bare[PS_WORKERS_MAX];
    double limit_seconds; /* processor time of the limit, after its first run */
    unsigned limit_runs;
};

/* ---- steps ------------------------------------------------------------------------------------
 */

static enum status run_clients(void *context, struct error *error)
{
    struct case_run *item = context;
    return ps_load_run(&item->run->load, item->direction.push, item->direction.encoding,
                       &item->counts, error);
}

struct bare_call {
    struct bare_client *client;
    struct bare_plan plan;
    struct latencies *latencies;
    enum status status;
    struct error error;
};

static void run_bare_client(void *context)
{
    struct bare_call *call = context;
    call->status = bare_client_run(call->client, &call->plan, call->latencies, &call->error);
}

static enum status run_bare(struct case_run *item, struct error *error)
{
    struct bare_call calls[PS_WORKERS_MAX];
    void *contexts[PS_WORKERS_MAX];
    const struct ps_setting *setting = &item->run->load.setting;
    const size_t row_bytes = row_codec_bytes(item->direction.encoding, setting->dim);
    for (unsigned i = 0; i < setting->workers; i++) {
        calls[i] = (struct bare_call){.client = &item->run->clients[i],
                                      .plan = {.stream = &item->run->load.workers[i].stream,
                                               .row_bytes = row_bytes,
                                               .push = item->direction.push,
                                               .in_flight = setting->in_flight},
                                      .latencies = &item->bare[i]};
        contexts[i] = &calls[i];
        if (item->limit_runs == 1) latencies_clear(&item->bare[i]);
    }
    bench_parallel(run_bare_client, contexts, setting->workers);
    for (unsigned i = 0; i < setting->workers; i++) {
        if (calls[i].status == STATUS_OK) continue;
        *error = calls[i].error;
        return calls[i].status;
    }
    return STATUS_OK;
}

static double limit_processors(const struct group_run *run)
{
    double seconds = process_seconds(0);
    for (unsigned i = 0; i < run->ends.process_count; i++)
        seconds += process_seconds(run->ends.processes[i]);
    return seconds;
}

static enum status run_limit(void *context, struct error *error)
{
    struct case_run *item = context;
    struct group_run *run = item->run;
    const double before = limit_processors(run);
    enum status status = run->load.setting.transport == PS_SHM
                             ? ps_local_run(&run->local, item->direction.push, error)
                             : run_bare(item, error);
    if (item->limit_runs++ > 0) item->limit_seconds += limit_processors(run) - before;
    return status;
}

/* ---- a group ----------------------------------------------------------------------------------
 */

static void name_case(const struct group *group, const struct direction *direction,
                      char name[CASE_NAME_BYTES])
{
    const char *suffix = group->suffix != NULL ? group->suffix : "";
    int length = group->latency != NULL ? snprintf(name, CASE_NAME_BYTES, "%s", group->latency)
                                        : snprintf(name, CASE_NAME_BYTES, "%s-%s-%s%s",
                                                   direction->push ? "push" : "pull",
                                                   transport_names[group->setting.transport],
                                                   encoding_names[direction->encoding], suffix);
    CHECK(length > 0 && (unsigned)length < CASE_NAME_BYTES);
}

/* The times of all workers' requests, in the first of `latencies`. */
static struct latencies *merged(struct latencies latencies[PS_WORKERS_MAX])
{
    for (unsigned i = 1; i < PS_WORKERS_MAX; i++) {
        for (size_t j = 0; j < latencies[i].count; j++)
            latencies_add(&latencies[0], latencies[i].seconds[j]);
        latencies_clear(&latencies[i]);
    }
    return &latencies[0];
}

static void report(struct bench *bench, struct case_run *item, double seconds, double limit_seconds)
{
    const struct ps_setting *setting = &item->run->load.setting;
    struct ps_counts *counts = &item->counts;
    struct latencies *latencies = merged(counts->latencies);
    const Anthill__Encoding encoding =
        setting->transport == PS_SHM ? F32 : item->direction.encoding;
    double rows = 0;
    for (unsigned i = 0; i < setting->workers; i++)
        rows += (double)request_stream_rows(&item->run->load.workers[i].stream);
    const double row_bytes = (double)(sizeof(uint64_t) + row_codec_bytes(encoding, setting->dim));
    const double p50_us = latencies_quantile(latencies, 0.5) * 1e6;
    const double millions = (double)counts->rows * 1e-6;
    const struct bench_field fields[] = {
        {"bytes_per_s", rows / seconds * row_bytes},
        {"p50_us", p50_us},
        {"p99_us", latencies_quantile(latencies, 0.99) * 1e6},
        {"client_cpu_s_per_mrow", counts->client_seconds / millions},
        {"server_cpu_s_per_mrow", counts->server_seconds / millions},
        {"limit_cpu_s_per_mrow", item->limit_seconds / millions},
        {"client_cpu", counts->client_seconds / counts->seconds},
        {"server_cpu", counts->server_seconds / counts->seconds}};
    const unsigned field_count = sizeof fields / sizeof *fields;
    if (item->run->group->latency != NULL)
        bench_report_fields(bench, item->name, p50_us, "us",
                            latencies_quantile(merged(item->bare), 0.5) * 1e6, fields, field_count);
    else
        bench_report_fields(bench, item->name, rows / seconds, "rows/s", rows / limit_seconds,
                            fields, field_count);
}

static enum status measure(struct bench *bench, struct group_run *run, struct error *error)
{
    struct case_run items[GROUP_CASES_MAX] = {0};
    struct bench_step steps[2 * GROUP_CASES_MAX];
    const struct group *group = run->group;
    unsigned count = 0;
    for (unsigned i = 0; i < group->direction_count; i++) {
        struct case_run *item = &items[count];
        name_case(group, &group->directions[i], item->name);
        if (!bench_wants(bench, item->name)) continue;
        item->run = run;
        item->direction = group->directions[i];
        steps[2 * count] = (struct bench_step){run_clients, item, 0};
        steps[2 * count + 1] = (struct bench_step){run_limit, item, 0};
        count++;
    }
    enum status status =
        bench_alternate(steps, 2 * count, bench_rounds(bench, group->rounds), error);
    for (unsigned i = 0; i < count; i++) {
        if (status == STATUS_OK)
            report(bench, &items[i], steps[2 * i].seconds, steps[2 * i + 1].seconds);
        ps_counts_deinit(&items[i].counts);
        for (unsigned j = 0; j < PS_WORKERS_MAX; j++)
            latencies_deinit(&items[i].bare[j]);
    }
    return status;
}

static bool group_wanted(const struct bench *bench, const struct group *group)
{
    char name[CASE_NAME_BYTES];
    for (unsigned i = 0; i < group->direction_count; i++) {
        name_case(group, &group->directions[i], name);
        if (bench_wants(bench, name)) return true;
    }
    return false;
}

static enum status run_group(struct bench *bench, const struct group *group, struct error *error)
{
    struct group_run run = {.group = group};
    struct ps_setting setting = group->setting;
    enum status status = STATUS_OK;
    if (!group_wanted(bench, group)) return STATUS_OK;
    if (bench->quick) {
        setting.requests = 6;
        setting.row_count =
            setting.row_count / 100 > 2 * setting.keys ? setting.row_count / 100 : 2 * setting.keys;
    }
    if (setting.transport != PS_SHM)
        bare_ends_start(&run.ends, setting.transport == PS_IPC, setting.servers, setting.shards);
    ps_load_init(&run.load, bench, &setting);
    status = ps_load_start(&run.load, error);
    if (setting.transport == PS_SHM && status == STATUS_OK)
        status = ps_local_init(&run.local, &run.load, error);
    for (unsigned i = 0; setting.transport != PS_SHM && i < setting.workers; i++)
        if (status == STATUS_OK) status = bare_client_open(&run.clients[i], &run.ends, error);
    if (status == STATUS_OK) status = measure(bench, &run, error);
    for (unsigned i = 0; i < PS_WORKERS_MAX; i++)
        bare_client_close(&run.clients[i]);
    ps_local_deinit(&run.local);
    ps_load_deinit(&run.load);
    bare_ends_stop(&run.ends);
    transport_shutdown(); /* no threads are left when the next group forks */
    return status;
}

/* ---- cases ------------------------------------------------------------------------------------
 */

static struct group group_of(enum ps_transport transport)
{
    struct group group = {.setting = base, .rounds = 11};
    group.setting.transport = transport;
    group.directions[0] = (struct direction){false, F32};
    group.directions[1] = (struct direction){true, F32};
    group.direction_count = 2;
    return group;
}

static void add_direction(struct group *group, bool push, Anthill__Encoding encoding)
{
    group->directions[group->direction_count++] = (struct direction){push, encoding};
}

enum status ps_cases(struct bench *bench, struct error *error)
{
    if (bench->matrix) return STATUS_OK;
    struct group tcp = group_of(PS_TCP), ipc = group_of(PS_IPC), shm = group_of(PS_SHM);
    struct group few = group_of(PS_TCP);
    add_direction(&tcp, false, BF16);
    add_direction(&tcp, true, BF16);
    add_direction(&tcp, false, INT8);
    shm.rounds = 15;
    few.latency = "pull-64-tcp";
    few.setting.keys = 64;
    few.setting.in_flight = 1;
    few.setting.requests = 2000;
    few.direction_count = 1;
    enum status status = run_group(bench, &tcp, error);
    if (status == STATUS_OK) status = run_group(bench, &few, error);
    if (status == STATUS_OK) status = run_group(bench, &ipc, error);
    if (status == STATUS_OK) status = run_group(bench, &shm, error);
    return status;
}

/* ---- the matrix -------------------------------------------------------------------------------
 */

static void two_servers(struct ps_setting *setting)
{
    setting->servers = 2;
}

static void two_replicas(struct ps_setting *setting)
{
    setting->servers = setting->replicas = 2;
}

static void two_shards(struct ps_setting *setting)
{
    setting->shards = 2;
}

static void two_workers(struct ps_setting *setting)
{
    setting->workers = 2;
}

static void short_rows(struct ps_setting *setting)
{
    setting->dim = 16;
}

static void long_rows(struct ps_setting *setting)
{
    setting->dim = 128;
    setting->requests = base.requests / 2;
}

static void few_keys(struct ps_setting *setting)
{
    setting->keys = base.keys / 4;
    setting->requests = base.requests * 4;
}

static void many_keys(struct ps_setting *setting)
{
    setting->keys = base.keys * 4;
    setting->requests = base.requests / 4;
}

static void zipf_keys(struct ps_setting *setting)
{
    setting->zipf = true;
}

static enum status run_variations(struct bench *bench, enum ps_transport transport,
                                  struct error *error)
{
    static const struct {
        const char *suffix;
        void (*change)(struct ps_setting *setting);
    } variations[] = {{"-s2", two_servers}, {"-r2", two_replicas},  {"-t2", two_shards},
                      {"-w2", two_workers}, {"-d16", short_rows},   {"-d128", long_rows},
                      {"-k4096", few_keys}, {"-k65536", many_keys}, {"-zipf", zipf_keys}};
    struct group group = group_of(transport);
    group.rounds = 3;
    /* In shared memory rows are f32 always. */
    for (unsigned i = 0; i < 2 && transport != PS_SHM; i++) {
        add_direction(&group, false, i == 0 ? BF16 : INT8);
        add_direction(&group, true, i == 0 ? BF16 : INT8);
    }
    enum status status = run_group(bench, &group, error);
    for (unsigned i = 0; i < sizeof variations / sizeof *variations; i++) {
        if (status != STATUS_OK) break;
        group = group_of(transport);
        group.rounds = 3;
        group.suffix = variations[i].suffix;
        variations[i].change(&group.setting);
        status = run_group(bench, &group, error);
    }
    return status;
}

enum status matrix_cases(struct bench *bench, struct error *error)
{
    if (!bench->matrix) return STATUS_OK;
    enum status status = run_variations(bench, PS_IPC, error);
    if (status == STATUS_OK) status = run_variations(bench, PS_TCP, error);
    if (status == STATUS_OK) status = run_variations(bench, PS_SHM, error);
    return status;
}
