/* A worker's process: production's client, and in place of graph and model a loop that takes
 * leases, pulls, pushes whole numbers and advances its clock. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "tests/sim/sim.h"

#define TURN_NS     (50 * SIM_MS)
#define RESEND_NS   SIM_S
#define BEAT_NS     SIM_S
#define LEAVE_NS    (5 * SIM_S)
#define ENDPOINT    "tcp://coordinator-0:0-0"
#define FLOATS      (KEYS * FLOATS_MAX)
#define LEASES_MAX  512
#define PENDING_MAX 128

enum phase {
    PHASE_JOINS,
    PHASE_OPENS,
    PHASE_ASKS,
    PHASE_WAITS,
    PHASE_PULLS,
    PHASE_FLUSHES,
    PHASE_REPORTS,
    PHASE_LEAVES,
};

static const char *const phase_names[] = {
    "joining", "opening tables",     "asking for a lease", "waiting",
    "pulling", "waiting for pushes", "reporting a lease",  "leaving"};

/* A request that is sent again every second until it is answered. */
struct call {
    bool active;
    uint64_t request, due_ns;
};

struct pending_push {
    uint64_t ticket;
    bool counts; /* gradients, not an assignment or deletion */
    uint32_t table, count, places[KEYS];
    float grads[FLOATS];
};

static struct worker {
    struct client_core *core;
    enum phase phase;
    struct call work, keep;
    uint64_t requests, beat_due_ns, wait_until_ns;
    uint32_t links;
    char endpoints[SHARDS_MAX][ENDPOINT_BYTES];
    uint32_t tables; /* that are open, or being opened */
    uint64_t ticket; /* of the one that is being opened */
    /* The lease. */
    uint64_t lease;
    bool evaluates, lost;
    uint32_t batches_left;
    /* The batch. */
    uint64_t pulls[TABLES];
    uint64_t keys[TABLES][KEYS];
    float rows[TABLES][FLOATS];
    struct pending_push pushes[PENDING_MAX];
    uint32_t push_count;
} workers[WORKERS_MAX];

static uint64_t counted[LEASES_MAX]; /* the session for which each lease counted */

void worker_init(void)
{
    memset(workers, 0, sizeof workers);
    memset(counted, 0, sizeof counted);
}

const char *worker_state(const struct process *process)
{
    return process->up ? phase_names[workers[process->number].phase] : "not started";
}

void worker_start(struct process *process)
{
    struct worker *worker = &workers[process->number];
    memset(worker, 0, sizeof *worker);
    const struct client_core_options options = {
        .coordinator = ENDPOINT,
        .name = process->name,
        .timeout_ns = sim.timeout_ns,
        .trains = true,
        .seed_count = sim.seeds,
        .graph_checksum = 7,
    };
    worker->core = client_core_create(&options);
    worker->requests = process->generation << 32;
    for (uint32_t slot = 0; slot < CONNECTION_LINKS; slot++)
        net_connect(process, slot, ENDPOINT);
}

void worker_kill(struct process *process)
{
    struct worker *worker = &workers[process->number];
    client_core_destroy(worker->core);
    memset(worker, 0, sizeof *worker);
}

/* ---- the coordinator is asked --------------------------------------------------------------- */

static void send_call(struct process *process, struct call *call, uint32_t slot,
                      Anthill__Envelope *envelope)
{
    if (!call->active) {
        call->active = true;
        call->request = ++workers[process->number].requests;
    }
    call->due_ns = sim.now_ns + RESEND_NS;
    envelope->request = call->request;
    envelope->session = client_core_session(workers[process->number].core);
    struct message message;
    CHECK(wire_pack(&message, 0, envelope, NULL, 0) == STATUS_OK);
    if (net_send(process, slot, &message) != STATUS_OK) wire_message_deinit(&message);
}

static bool is_due(const struct call *call)
{
    return !call->active || sim.now_ns >= call->due_ns;
}

static void ask_lease(struct process *process)
{
    Anthill__LeaseRequest body = ANTHILL__LEASE_REQUEST__INIT;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_LEASE_REQUEST;
    envelope.lease_request = &body;
    send_call(process, &workers[process->number].work, CONNECTION_WORK, &envelope);
}

static void report_lease(struct process *process)
{
    struct worker *worker = &workers[process->number];
    Anthill__Metric metrics[2], *pointers[2] = {&metrics[0], &metrics[1]};
    static const char *const names[2] = {"valid/accuracy", "test/accuracy"};
    for (unsigned i = 0; i < 2; i++) {
        anthill__metric__init(&metrics[i]);
        metrics[i].name = worker->evaluates ? (char *)names[i] : "loss";
        metrics[i].value = 0.01 * (double)(worker->lease * 37 % 100);
        metrics[i].weight = 1;
    }
    Anthill__LeaseDone body = ANTHILL__LEASE_DONE__INIT;
    body.lease = worker->lease;
    body.n_metrics = worker->evaluates ? 2 : 1;
    body.metrics = pointers;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_LEASE_DONE;
    envelope.lease_done = &body;
    send_call(process, &worker->work, CONNECTION_WORK, &envelope);
}

static void beat(struct process *process)
{
    struct worker *worker = &workers[process->number];
    if (worker->keep.active ? sim.now_ns < worker->keep.due_ns : sim.now_ns < worker->beat_due_ns)
        return;
    worker->beat_due_ns = sim.now_ns + BEAT_NS;
    Anthill__Heartbeat body = ANTHILL__HEARTBEAT__INIT;
    body.leases = &worker->lease;
    body.n_leases = worker->lease != 0;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_HEARTBEAT;
    envelope.heartbeat = &body;
    send_call(process, &worker->keep, CONNECTION_KEEP, &envelope);
}

static void take_lease(struct worker *worker, const Anthill__LeaseReply *reply)
{
    switch (reply->kind) {
    case ANTHILL__LEASE_KIND__LEASE_STOP:
        worker->phase = PHASE_FLUSHES;
        worker->lease = 0;
        break;
    case ANTHILL__LEASE_KIND__LEASE_TRAIN:
    case ANTHILL__LEASE_KIND__LEASE_EVALUATE:
        worker->lease = reply->lease;
        worker->lost = false;
        worker->evaluates = reply->kind == ANTHILL__LEASE_KIND__LEASE_EVALUATE;
        worker->batches_left =
            worker->evaluates ? 1
                              : (uint32_t)((reply->end - reply->begin + sim.batch - 1) / sim.batch);
        worker->phase = PHASE_PULLS;
        break;
    default:
        client_core_idle(worker->core);
        worker->wait_until_ns = sim.now_ns + reply->retry_ms * SIM_MS;
        worker->phase = PHASE_WAITS;
    }
}

static void count_lease(struct worker *worker, bool counts)
{
    uint64_t session = client_core_session(worker->core);
    CHECK(worker->lease < LEASES_MAX);
    if (counts && counted[worker->lease] != 0 && counted[worker->lease] != session)
        sim_fail("lease %" PRIu64 " counts for sessions %" PRIu64 " and %" PRIu64, worker->lease,
                 counted[worker->lease], session);
    if (counts) counted[worker->lease] = session;
    worker->lease = 0;
    worker->phase = PHASE_ASKS;
}

static void hear_answer(struct process *process, const Anthill__Envelope *envelope)
{
    struct worker *worker = &workers[process->number];
    struct error error;
    switch (envelope->body_case) {
    case ANTHILL__ENVELOPE__BODY_LEASE_REPLY:
        take_lease(worker, envelope->lease_reply);
        break;
    case ANTHILL__ENVELOPE__BODY_LEASE_DONE_REPLY:
        count_lease(worker, envelope->lease_done_reply->counted);
        break;
    case ANTHILL__ENVELOPE__BODY_HEARTBEAT_REPLY:
        for (size_t i = 0; i < envelope->heartbeat_reply->n_lost; i++)
            worker->lost |= envelope->heartbeat_reply->lost[i] == worker->lease;
        break;
    case ANTHILL__ENVELOPE__BODY_ERROR:
        sim_fail("%s is answered by the coordinator: %s (%s)", process->name, envelope->error->text,
                 status_name(wire_error(envelope, &error)));
    default:
        sim_fail("%s is answered with message %d", process->name, (int)envelope->body_case);
    }
}

/* ---- one batch ------------------------------------------------------------------------------ */

static void pull(struct worker *worker)
{
    for (uint32_t table = 0; table < TABLES; table++) {
        struct error error = {0};
        enum status status;
        worker->pulls[table] = 0;
        if (sim_chance(400)) continue;
        if (table == TABLE_DENSE) {
            status = client_core_pull_dense(worker->core, table, worker->rows[table],
                                            &worker->pulls[table], &error);
        } else {
            uint32_t count = 0;
            uint64_t share = sim_between(100, 900);
            for (uint32_t place = 0; place < KEYS; place++) {
                if (sim_chance((uint32_t)share))
                    worker->keys[table][count++] = model_key(table, place);
            }
            status = client_core_pull(worker->core, table, worker->keys[table], count,
                                      worker->rows[table], worker->evaluates, &worker->pulls[table],
                                      &error);
        }
        if (status != STATUS_OK) sim_fail("a pull cannot begin: %s", error.text);
    }
}

static bool pulls_ended(struct worker *worker)
{
    for (uint32_t table = 0; table < TABLES; table++) {
        struct error error;
        if (worker->pulls[table] == 0) continue;
        enum status status = client_core_ended(worker->core, worker->pulls[table], &error);
        if (status == STATUS_BUSY) return false;
        if (status != STATUS_OK)
            sim_fail("a pull of %s ends: %s", model_spec(table)->name, error.text);
        worker->pulls[table] = 0;
    }
    return true;
}

/* Keys may stand twice. */
static uint32_t choose_places(uint32_t places[KEYS], uint64_t keys[KEYS], uint32_t table,
                              bool distinct)
{
    uint32_t count = 0;
    uint64_t share = sim_between(50, 600);
    for (uint32_t place = 0; place < KEYS; place++) {
        if (!sim_chance((uint32_t)share)) continue;
        bool again = !distinct && count > 0 && sim_chance(50);
        places[count] = again ? places[count - 1] : place;
        count++;
    }
    for (uint32_t i = 0; i < count; i++)
        keys[i] = model_key(table, places[i]);
    return count;
}

static struct pending_push *begin_push(struct worker *worker, uint32_t table)
{
    CHECK(worker->push_count < PENDING_MAX);
    struct pending_push *push = &worker->pushes[worker->push_count++];
    push->table = table;
    push->counts = true;
    for (uint32_t i = 0; i < FLOATS; i++)
        push->grads[i] = (float)sim_between(0, 9) - 4.0f;
    return push;
}

static void push(struct worker *worker, uint32_t table)
{
    uint64_t keys[KEYS];
    struct error error = {0};
    enum status status;
    struct pending_push *push = begin_push(worker, table);
    if (table == TABLE_DENSE) {
        for (push->count = 0; push->count < TENSORS; push->count++)
            push->places[push->count] = push->count;
        status = client_core_push_dense(worker->core, table, push->grads, 1, &push->ticket, &error);
    } else {
        push->count = choose_places(push->places, keys, table, false);
        status = client_core_push(worker->core, table, keys, push->count, push->grads, 1,
                                  &push->ticket, &error);
    }
    if (status != STATUS_OK) sim_fail("a push cannot begin: %s", error.text);
}

static void assign_or_delete(struct worker *worker)
{
    uint64_t keys[KEYS];
    struct error error = {0};
    struct pending_push *push = begin_push(worker, TABLE_SPARSE);
    push->counts = false;
    push->count = choose_places(push->places, keys, TABLE_SPARSE, true);
    enum status status = sim_chance(500)
                             ? client_core_assign(worker->core, TABLE_SPARSE, keys, push->count,
                                                  push->grads, &push->ticket, &error)
                             : client_core_delete(worker->core, TABLE_SPARSE, keys, push->count,
                                                  NULL, &push->ticket, &error);
    if (status != STATUS_OK) sim_fail("an assignment cannot begin: %s", error.text);
}

/* True: none is under way. */
static bool pushes_ended(struct worker *worker)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < worker->push_count; i++) {
        struct pending_push *push = &worker->pushes[i];
        struct error error;
        enum status status = client_core_ended(worker->core, push->ticket, &error);
        if (status == STATUS_BUSY) {
            worker->pushes[kept++] = *push;
        } else if (status != STATUS_OK) {
            sim_fail("a push to %s ends: %s", model_spec(push->table)->name, error.text);
        } else if (push->counts) {
            model_push_ended(client_core_session(worker->core), push->table, push->places,
                             push->count, push->grads);
        }
    }
    worker->push_count = kept;
    return kept == 0;
}

static void train(struct worker *worker)
{
    for (uint32_t table = 0; table < TABLES; table++) {
        if (sim_chance(600)) push(worker, table);
    }
    if (sim_chance(100)) assign_or_delete(worker);
    client_core_advance(worker->core);
}

/* ---- a turn --------------------------------------------------------------------------------- */

static bool open_tables(struct worker *worker)
{
    struct error error = {0};
    if (worker->ticket != 0) {
        enum status status = client_core_ended(worker->core, worker->ticket, &error);
        if (status == STATUS_BUSY) return false;
        if (status != STATUS_OK) sim_fail("a table is not opened: %s", error.text);
        worker->ticket = 0;
    }
    if (worker->tables == TABLES) return true;
    uint32_t number = 0;
    if (client_core_table(worker->core, model_spec(worker->tables), &number, &worker->ticket,
                          &error) != STATUS_OK)
        sim_fail("a table cannot be opened: %s", error.text);
    CHECK(number == worker->tables);
    worker->tables++;
    return false;
}

static void begin_leaving(struct worker *worker)
{
    model_session_check(client_core_session(worker->core));
    client_core_leave(worker->core);
    worker->phase = PHASE_LEAVES;
    worker->wait_until_ns = sim.now_ns + LEAVE_NS;
}

/* True: at once again. */
static bool go_on(struct process *process, struct worker *worker)
{
    switch (worker->phase) {
    case PHASE_JOINS:
        if (client_core_joined(worker->core, NULL) != STATUS_OK) return false;
        worker->phase = PHASE_OPENS;
        return true;
    case PHASE_OPENS:
        if (open_tables(worker)) worker->phase = PHASE_ASKS;
        return worker->phase == PHASE_ASKS;
    case PHASE_ASKS:
        if (is_due(&worker->work)) ask_lease(process);
        return false;
    case PHASE_WAITS:
        if (sim.now_ns >= worker->wait_until_ns) worker->phase = PHASE_ASKS;
        return worker->phase == PHASE_ASKS;
    case PHASE_PULLS:
        if (!pulls_ended(worker)) return false;
        (void)pushes_ended(worker);
        if (worker->batches_left == 0 || worker->lost || worker->push_count > PENDING_MAX / 2) {
            worker->phase = worker->batches_left == 0 || worker->lost ? PHASE_FLUSHES : PHASE_PULLS;
            return worker->phase == PHASE_FLUSHES;
        }
        if (--worker->batches_left > 0 || !worker->evaluates) train(worker);
        pull(worker);
        return true;
    case PHASE_FLUSHES:
        if (!pushes_ended(worker)) return false;
        if (worker->lease == 0) {
            begin_leaving(worker);
            return false;
        }
        worker->phase = worker->lost ? PHASE_ASKS : PHASE_REPORTS;
        if (worker->lost) worker->lease = 0;
        return true;
    case PHASE_REPORTS:
        if (is_due(&worker->work)) report_lease(process);
        return false;
    case PHASE_LEAVES:
        if (client_core_left(worker->core) || sim.now_ns >= worker->wait_until_ns)
            process_end(process, false);
        return false;
    }
    return false;
}

static void connect_links(struct process *process, struct worker *worker)
{
    worker->links = client_core_shard_count(worker->core);
    for (uint32_t i = 0; i < worker->links; i++)
        net_connect(process, CONNECTION_LINKS + i, client_core_endpoint(worker->core, i));
}

static void send_to(struct process *process, struct worker *worker, uint32_t target, uint32_t slot)
{
    for (struct message *message; (message = client_core_output(worker->core, target)) != NULL;) {
        if (process_step() || net_send(process, slot, message) == STATUS_BUSY) return;
        client_core_sent(worker->core, target);
    }
}

void worker_turn(struct process *process)
{
    struct worker *worker = &workers[process->number];
    struct error error = {0};
    enum status status = client_core_joined(worker->core, &error);
    if (status == STATUS_STOPPED) { /* it comes when the run is over */
        process_end(process, false);
        return;
    }
    if (status != STATUS_OK && status != STATUS_BUSY)
        sim_fail("%s cannot go on: %s", process->name, error.text);
    connect_links(process, worker);
    for (unsigned i = 0; i < 8 && go_on(process, worker); i++) {
    }
    if (!process->up) return;
    if (worker->phase > PHASE_OPENS && worker->phase != PHASE_LEAVES) beat(process);
    client_core_tick(worker->core, process_now(process));
    send_to(process, worker, CLIENT_COORDINATOR, CONNECTION_CORE);
    for (uint32_t i = 0; i < worker->links; i++)
        send_to(process, worker, i, CONNECTION_LINKS + i);
    process_wake(process, TURN_NS);
}

void worker_receive(struct process *process, uint32_t slot, const struct message *message)
{
    struct worker *worker = &workers[process->number];
    if (slot == CONNECTION_CORE || slot >= CONNECTION_LINKS) {
        uint32_t source = slot == CONNECTION_CORE ? CLIENT_COORDINATOR : slot - CONNECTION_LINKS;
        client_core_receive(worker->core, process_now(process), source, message);
    } else {
        struct call *call = slot == CONNECTION_WORK ? &worker->work : &worker->keep;
        if (!call->active || message->envelope->request != call->request) return;
        call->active = false;
        hear_answer(process, message->envelope);
    }
    process_wake(process, sim_between(0, 4) * SIM_MS);
}
