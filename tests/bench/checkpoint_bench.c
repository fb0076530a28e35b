/* A checkpoint while serving: one client pulls through shared memory all the while, before, during
 * and after a checkpoint of all rows. The value is the pulls' speed during the checkpoint as a
 * share of that before and after it. Every row is pushed before each round, so that a checkpoint of
 * what has changed is one of everything. */
#include <pthread.h>
#include <stdio.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/program.h"
#include "common/transport.h"
#include "ps/client/control.h"
#include "tests/bench/ps_load.h"

#define IN_FLIGHT   4u
#define ROUNDS_MAX  1001u
#define TIMEOUT_NS  (300 * NS_PER_S)
#define SETTLE_KEYS 16384u

static const char name[] = "checkpoint-2g";

/* The client's pulls: always IN_FLIGHT of them are under way. */
struct puller {
    struct ps_load *load;
    uint64_t tickets[IN_FLIGHT];
    uint64_t begun, answered, answer_ns; /* when the last was */
};

struct window {
    double rows, seconds, gap; /* the longest time between two answers */
};

/* When a window ends: at a time, or at the latest then, when `path` is there. */
struct window_end {
    uint64_t deadline_ns;
    char path[FILE_PATH_BYTES]; /* "": only at the time */
};

static enum status begin_pull(struct puller *puller, struct error *error)
{
    struct ps_worker *worker = &puller->load->workers[0];
    const unsigned request = (unsigned)(puller->begun % worker->stream.requests);
    const unsigned place = puller->begun++ % IN_FLIGHT;
    return client_pull(worker->client, worker->table, request_stream_keys(&worker->stream, request),
                       worker->stream.counts[request], worker->rows[place], false,
                       &puller->tickets[place], error);
}

static enum status wait_for_pull(struct puller *puller, struct error *error)
{
    const unsigned place = puller->answered++ % IN_FLIGHT;
    return client_wait(puller->load->workers[0].client, puller->tickets[place], error);
}

static enum status pull_until(struct puller *puller, const struct window_end *end,
                              struct window *window, struct error *error)
{
    const uint64_t start_ns = clock_now_ns();
    uint64_t now_ns = start_ns;
    enum status status = STATUS_OK;
    *window = (struct window){0};
    if (puller->answer_ns == 0) puller->answer_ns = start_ns;
    while (now_ns < end->deadline_ns && status == STATUS_OK) {
        if (end->path[0] != '\0' && file_exists(end->path)) break;
        while (puller->begun < puller->answered + IN_FLIGHT && status == STATUS_OK)
            status = begin_pull(puller, error);
        if (status == STATUS_OK) status = wait_for_pull(puller, error);
        now_ns = clock_now_ns();
        const double gap = seconds_between(puller->answer_ns, now_ns);
        if (gap > window->gap) window->gap = gap;
        puller->answer_ns = now_ns;
        window->rows += puller->load->setting.keys;
        if (status == STATUS_OK && program_stop_requested())
            status = error_set(error, STATUS_STOPPED, "stopped by a signal");
    }
    window->seconds = seconds_between(start_ns, now_ns);
    return status;
}

/* Ends what is under way, so that pauses between windows are none of theirs. */
static enum status drain(struct puller *puller, struct error *error)
{
    enum status status = STATUS_OK;
    while (puller->answered < puller->begun && status == STATUS_OK)
        status = wait_for_pull(puller, error);
    puller->answer_ns = 0;
    return status;
}

static enum status push_all(struct ps_load *load, struct error *error)
{
    static uint64_t keys[SETTLE_KEYS];
    struct ps_worker *worker = &load->workers[0];
    enum status status = STATUS_OK;
    for (uint64_t first = 0; first < load->setting.row_count && status == STATUS_OK;) {
        uint64_t ticket;
        uint32_t count = 0;
        for (; count < SETTLE_KEYS && first < load->setting.row_count; count++)
            keys[count] = first++;
        status = client_push(worker->client, worker->table, keys, count, worker->grads[0], 1.0f,
                             &ticket, error);
        if (status == STATUS_OK) status = client_wait(worker->client, ticket, error);
    }
    return status;
}

/* ---- ordering one -----------------------------------------------------------------------------
 */

/* On a thread of its own: the coordinator's answers take as long as its disk. */
struct order {
    const char *coordinator;
    uint64_t session;
    enum status status;
    struct error error;
};

static enum status take_lease(struct control *control, uint64_t *lease, struct error *error)
{
    for (*lease = 0; *lease == 0;) {
        Anthill__LeaseRequest request = ANTHILL__LEASE_REQUEST__INIT;
        Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
        struct message reply;
        envelope.body_case = ANTHILL__ENVELOPE__BODY_LEASE_REQUEST;
        envelope.lease_request = &request;
        enum status status = control_call(control, &envelope, &reply, error);
        if (status != STATUS_OK) return status;
        const bool given = reply.envelope->body_case == ANTHILL__ENVELOPE__BODY_LEASE_REPLY;
        const Anthill__LeaseKind kind =
            given ? reply.envelope->lease_reply->kind : ANTHILL__LEASE_KIND__LEASE_STOP;
        if (kind == ANTHILL__LEASE_KIND__LEASE_TRAIN) *lease = reply.envelope->lease_reply->lease;
        wire_message_deinit(&reply);
        if (kind != ANTHILL__LEASE_KIND__LEASE_TRAIN && kind != ANTHILL__LEASE_KIND__LEASE_WAIT)
            return error_set(error, STATUS_UNAVAILABLE, "the coordinator gives no lease");
    }
    return STATUS_OK;
}

/* The coordinator orders a checkpoint when it is due (here always) and seeds were trained: one
 * lease is taken and reported as done. */
static void *order_main(void *context)
{
    struct order *order = context;
    struct control *control = NULL;
    uint64_t lease;
    order->status =
        control_open(&control, order->coordinator, order->session, TIMEOUT_NS, &order->error);
    if (order->status == STATUS_OK) order->status = take_lease(control, &lease, &order->error);
    if (order->status == STATUS_OK) {
        Anthill__LeaseDone done = ANTHILL__LEASE_DONE__INIT;
        Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
        struct message reply;
        done.lease = lease;
        envelope.body_case = ANTHILL__ENVELOPE__BODY_LEASE_DONE;
        envelope.lease_done = &done;
        order->status = control_call(control, &envelope, &reply, &order->error);
        if (order->status == STATUS_OK) wire_message_deinit(&reply);
    }
    control_close(control);
    return NULL;
}

/* ---- rounds -----------------------------------------------------------------------------------
 */

struct checkpoint_run {
    struct ps_load load;
    struct puller puller;
    uint64_t idle_ns; /* of the windows before and after */
    double shares[ROUNDS_MAX], gaps[ROUNDS_MAX], idle_gaps[ROUNDS_MAX], seconds[ROUNDS_MAX];
    double rates[ROUNDS_MAX], idle_rates[ROUNDS_MAX];
};

static enum status pull_during(struct checkpoint_run *run, unsigned step, struct window *window,
                               struct error *error)
{
    struct order order = {.coordinator = run->load.run.endpoint,
                          .session = client_session(run->load.workers[0].client)};
    struct window_end published = {.deadline_ns = clock_now_ns() + TIMEOUT_NS};
    pthread_t thread;
    enum status status =
        file_path(published.path, error, "%s/run/checkpoints/step-%u", run->load.run.folder, step);
    if (status != STATUS_OK) return status;
    CHECK(pthread_create(&thread, NULL, order_main, &order) == 0);
    status = pull_until(&run->puller, &published, window, error);
    pthread_join(thread, NULL);
    if (status == STATUS_OK && order.status != STATUS_OK) {
        *error = order.error;
        return order.status;
    }
    if (status == STATUS_OK && !file_exists(published.path))
        status = error_set(error, STATUS_UNAVAILABLE, "%s is not written", published.path);
    return status;
}

static enum status run_round(struct checkpoint_run *run, unsigned round, struct error *error)
{
    struct window before, during = {0}, after = {0};
    enum status status = push_all(&run->load, error);
    if (status != STATUS_OK) return status;
    struct window_end idle = {.deadline_ns = clock_now_ns() + run->idle_ns};
    status = pull_until(&run->puller, &idle, &before, error);
    if (status == STATUS_OK) status = pull_during(run, round + 1, &during, error);
    idle.deadline_ns = clock_now_ns() + run->idle_ns;
    if (status == STATUS_OK) status = pull_until(&run->puller, &idle, &after, error);
    if (status == STATUS_OK) status = drain(&run->puller, error);
    if (status != STATUS_OK) return status;
    run->rates[round] = during.rows / during.seconds;
    run->idle_rates[round] = (before.rows + after.rows) / (before.seconds + after.seconds);
    run->shares[round] = run->rates[round] / run->idle_rates[round];
    run->gaps[round] = during.gap;
    run->idle_gaps[round] = before.gap > after.gap ? before.gap : after.gap;
    run->seconds[round] = during.seconds;
    return STATUS_OK;
}

static void report(struct bench *bench, struct checkpoint_run *run, unsigned rounds)
{
    const struct bench_field fields[] = {
        {"gap_ms", bench_median(run->gaps, rounds) * 1e3},
        {"idle_gap_ms", bench_median(run->idle_gaps, rounds) * 1e3},
        {"rows_per_s", bench_median(run->rates, rounds)},
        {"idle_rows_per_s", bench_median(run->idle_rates, rounds)},
        {"checkpoint_s", bench_median(run->seconds, rounds)}};
    bench_report_fields(bench, name, bench_median(run->shares, rounds), "share", BENCH_NO_LIMIT,
                        fields, sizeof fields / sizeof *fields);
}

enum status checkpoint_cases(struct bench *bench, struct error *error)
{
    static struct checkpoint_run run;
    const unsigned rounds = bench_rounds(bench, 5);
    const struct ps_setting setting = {.transport = PS_SHM,
                                       .servers = 1,
                                       .shards = 1,
                                       .replicas = 1,
                                       .workers = 1,
                                       .dim = 64,
                                       .row_count = bench->quick ? 40000 : 4000000,
                                       .requests = 64,
                                       .keys = SETTLE_KEYS,
                                       .in_flight = IN_FLIGHT,
                                       .trains = true};
    if (bench->matrix || !bench_wants(bench, name)) return STATUS_OK;
    CHECK(rounds <= ROUNDS_MAX);
    run.idle_ns = bench->quick ? 50 * NS_PER_MS : 2 * NS_PER_S;
    run.puller.load = &run.load;
    ps_load_init(&run.load, bench, &setting);
    bench_processes_set(&run.load.run, "checkpoint.every_seconds=0.001");
    bench_processes_set(&run.load.run, "train.lease=1");
    bench_processes_set(&run.load.run, "workers.lease_seconds=3600"); /* nobody sends heartbeats */
    enum status status = ps_load_start(&run.load, error);
    for (unsigned round = 0; round < rounds && status == STATUS_OK; round++)
        status = run_round(&run, round, error);
    if (status == STATUS_OK) report(bench, &run, rounds);
    ps_load_deinit(&run.load);
    transport_shutdown();
    return status;
}
