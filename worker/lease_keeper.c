#include "worker/lease_keeper.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/program.h"
#include "common/wire.h"
#include "ps/client/control.h"

#define HEARTBEAT_NS NS_PER_S
#define HELD_MAX     64

struct lease_keeper {
    char *coordinator;
    uint64_t session, timeout_ns;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct held_lease *held[HELD_MAX]; /* being worked on */
    uint32_t held_count;
    struct held_lease *done[HELD_MAX]; /* to be reported, oldest first */
    uint32_t done_count;
    bool stopping;
    struct lease_keeper_leave leave;
    struct error error;
    enum status status;
};

static void wait_until(struct lease_keeper *keeper, uint64_t timeout_ns)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + timeout_ns;
    until.tv_sec += (time_t)(ns / NS_PER_S);
    until.tv_nsec = (long)(ns % NS_PER_S);
    pthread_cond_timedwait(&keeper->changed, &keeper->mutex, &until);
}

static void fail(struct lease_keeper *keeper, enum status status, const struct error *error)
{
    pthread_mutex_lock(&keeper->mutex);
    keeper->status = status;
    keeper->error = *error;
    pthread_cond_broadcast(&keeper->changed);
    pthread_mutex_unlock(&keeper->mutex);
}

static enum status report(struct control *control, struct held_lease *lease, struct error *error)
{
    Anthill__Metric metrics[LEASE_METRICS_MAX], *pointers[LEASE_METRICS_MAX];
    for (uint32_t i = 0; i < lease->metric_count; i++) {
        anthill__metric__init(&metrics[i]);
        metrics[i].name = lease->metrics[i].name;
        metrics[i].value = lease->metrics[i].value;
        metrics[i].weight = lease->metrics[i].weight;
        pointers[i] = &metrics[i];
    }
    Anthill__LeaseDone done = ANTHILL__LEASE_DONE__INIT;
    done.lease = lease->id;
    done.n_metrics = lease->metric_count;
    done.metrics = pointers;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_LEASE_DONE;
    envelope.lease_done = &done;
    struct message reply = {0};
    enum status status = control_call(control, &envelope, &reply, error);
    wire_message_deinit(&reply);
    return status;
}

static void mark_lost(struct lease_keeper *keeper, const Anthill__HeartbeatReply *reply)
{
    pthread_mutex_lock(&keeper->mutex);
    for (size_t i = 0; i < reply->n_lost; i++) {
        for (uint32_t k = 0; k < keeper->held_count; k++) {
            if (keeper->held[k]->id == reply->lost[i]) atomic_store(&keeper->held[k]->lost, true);
        }
    }
    pthread_mutex_unlock(&keeper->mutex);
}

static enum status heartbeat(struct lease_keeper *keeper, struct control *control,
                             struct error *error)
{
    uint64_t ids[2 * HELD_MAX];
    Anthill__Heartbeat beat = ANTHILL__HEARTBEAT__INIT;
    beat.leases = ids;
    pthread_mutex_lock(&keeper->mutex);
    for (uint32_t i = 0; i < keeper->held_count; i++) {
        ids[beat.n_leases++] = keeper->held[i]->id;
        beat.seeds_done += atomic_load(&keeper->held[i]->seeds_done);
    }
    for (uint32_t i = 0; i < keeper->done_count; i++) {
        ids[beat.n_leases++] = keeper->done[i]->id;
        beat.seeds_done += keeper->done[i]->end - keeper->done[i]->begin;
    }
    pthread_mutex_unlock(&keeper->mutex);
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_HEARTBEAT;
    envelope.heartbeat = &beat;
    struct message reply = {0};
    enum status status = control_call(control, &envelope, &reply, error);
    if (status == STATUS_OK &&
        reply.envelope->body_case == ANTHILL__ENVELOPE__BODY_HEARTBEAT_REPLY) {
        mark_lost(keeper, reply.envelope->heartbeat_reply);
    }
    wire_message_deinit(&reply);
    return status;
}

static void say_goodbye(struct control *control, const struct lease_keeper_leave *why)
{
    Anthill__Leave leave = ANTHILL__LEAVE__INIT;
    leave.status = (uint32_t)why->status;
    leave.text = why->text != NULL ? (char *)why->text : "";
    leave.fatal = why->fatal;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_LEAVE;
    envelope.leave = &leave;
    struct message reply = {0};
    /* A coordinator that does not hear it notices the silence. */
    if (control_call(control, &envelope, &reply, NULL) == STATUS_OK) wire_message_deinit(&reply);
}

/* Takes the oldest finished lease, or NULL after at most one heartbeat interval. */
static struct held_lease *next_done(struct lease_keeper *keeper, uint64_t beat_due_ns,
                                    bool *stopping)
{
    pthread_mutex_lock(&keeper->mutex);
    while (keeper->done_count == 0 && !keeper->stopping) {
        uint64_t now_ns = clock_now_ns();
        if (now_ns >= beat_due_ns) break;
        wait_until(keeper, beat_due_ns - now_ns);
    }
    struct held_lease *lease = keeper->done_count > 0 ? keeper->done[0] : NULL;
    *stopping = keeper->stopping;
    pthread_mutex_unlock(&keeper->mutex);
    return lease;
}

static void forget_done(struct lease_keeper *keeper)
{
    pthread_mutex_lock(&keeper->mutex);
    free(keeper->done[0]);
    keeper->done_count--;
    memmove(keeper->done, keeper->done + 1, keeper->done_count * sizeof keeper->done[0]);
    pthread_cond_broadcast(&keeper->changed);
    pthread_mutex_unlock(&keeper->mutex);
}

static void *keeper_thread(void *context)
{
    struct lease_keeper *keeper = context;
    struct control *control = NULL;
    struct error error = {0};
    enum status status =
        control_open(&control, keeper->coordinator, keeper->session, keeper->timeout_ns, &error);
    uint64_t beat_due_ns = clock_now_ns();
    bool stopping = false;
    while (status == STATUS_OK) {
        struct held_lease *lease = next_done(keeper, beat_due_ns, &stopping);
        if (lease != NULL) {
            if (!atomic_load(&lease->lost)) status = report(control, lease, &error);
            forget_done(keeper);
        } else if (stopping) {
            break;
        } else {
            status = heartbeat(keeper, control, &error);
            beat_due_ns = clock_now_ns() + HEARTBEAT_NS;
        }
    }
    if (status != STATUS_OK) fail(keeper, status, &error);
    if (control != NULL && stopping) say_goodbye(control, &keeper->leave);
    control_close(control);
    return NULL;
}

enum status lease_keeper_start(struct lease_keeper **keeper_out, const char *coordinator,
                               uint64_t session, uint64_t timeout_ns, struct error *error)
{
    struct lease_keeper *keeper = calloc(1, sizeof *keeper);
    if (keeper == NULL) return error_set(error, STATUS_NOMEM, "lease keeper");
    keeper->coordinator = strdup(coordinator);
    keeper->session = session;
    keeper->timeout_ns = timeout_ns;
    pthread_mutex_init(&keeper->mutex, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&keeper->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    int failed = pthread_create(&keeper->thread, NULL, keeper_thread, keeper);
    if (failed != 0) {
        free(keeper->coordinator);
        free(keeper);
        return error_set_errno(error, STATUS_NOMEM, failed, "lease keeper's thread");
    }
    *keeper_out = keeper;
    return STATUS_OK;
}

void lease_keeper_stop(struct lease_keeper *keeper, const struct lease_keeper_leave *leave)
{
    if (keeper == NULL) return;
    pthread_mutex_lock(&keeper->mutex);
    keeper->stopping = true;
    keeper->leave = *leave;
    pthread_cond_broadcast(&keeper->changed);
    pthread_mutex_unlock(&keeper->mutex);
    pthread_join(keeper->thread, NULL);
    for (uint32_t i = 0; i < keeper->held_count; i++)
        free(keeper->held[i]);
    for (uint32_t i = 0; i < keeper->done_count; i++)
        free(keeper->done[i]);
    pthread_cond_destroy(&keeper->changed);
    pthread_mutex_destroy(&keeper->mutex);
    free(keeper->coordinator);
    free(keeper);
}

bool lease_keeper_wait_room(struct lease_keeper *keeper, uint32_t held_max,
                            const atomic_bool *cancelled)
{
    pthread_mutex_lock(&keeper->mutex);
    bool goes_on = false;
    for (;;) {
        goes_on = keeper->status == STATUS_OK && !keeper->stopping && !atomic_load(cancelled) &&
                  !program_stop_requested();
        if (!goes_on || keeper->held_count < held_max) break;
        wait_until(keeper, 100 * NS_PER_MS);
    }
    pthread_mutex_unlock(&keeper->mutex);
    return goes_on;
}

struct held_lease *lease_keeper_add(struct lease_keeper *keeper, const Anthill__LeaseReply *grant)
{
    struct held_lease *lease = calloc(1, sizeof *lease);
    CHECK(lease != NULL);
    lease->id = grant->lease;
    lease->epoch = grant->epoch;
    lease->begin = grant->begin;
    lease->end = grant->end;
    lease->takes_turn = grant->takes_turn;
    lease->clock = grant->clock;
    lease->clock_after = grant->clock_after;
    lease->evaluates = grant->kind == ANTHILL__LEASE_KIND__LEASE_EVALUATE;
    pthread_mutex_lock(&keeper->mutex);
    CHECK(keeper->held_count < HELD_MAX);
    keeper->held[keeper->held_count++] = lease;
    pthread_mutex_unlock(&keeper->mutex);
    return lease;
}

void held_lease_metric(struct held_lease *lease, const char *name, double value, double weight)
{
    for (uint32_t i = 0; i < lease->metric_count; i++) {
        struct lease_metric *metric = &lease->metrics[i];
        if (strcmp(metric->name, name) != 0) continue;
        double total = metric->weight + weight;
        if (total > 0) metric->value += (value - metric->value) * weight / total;
        metric->weight = total;
        return;
    }
    CHECK(lease->metric_count < LEASE_METRICS_MAX);
    struct lease_metric *metric = &lease->metrics[lease->metric_count++];
    snprintf(metric->name, sizeof metric->name, "%s", name);
    metric->value = value;
    metric->weight = weight;
}

void lease_keeper_done(struct lease_keeper *keeper, struct held_lease *lease)
{
    pthread_mutex_lock(&keeper->mutex);
    for (uint32_t i = 0; i < keeper->held_count; i++) {
        if (keeper->held[i] == lease) keeper->held[i] = keeper->held[--keeper->held_count];
    }
    while (keeper->done_count == HELD_MAX && keeper->status == STATUS_OK)
        wait_until(keeper, HEARTBEAT_NS);
    if (keeper->done_count < HELD_MAX) {
        keeper->done[keeper->done_count++] = lease;
    } else {
        free(lease);
    }
    pthread_cond_broadcast(&keeper->changed);
    pthread_mutex_unlock(&keeper->mutex);
}

enum status lease_keeper_status(struct lease_keeper *keeper, struct error *error)
{
    pthread_mutex_lock(&keeper->mutex);
    enum status status = keeper->status;
    if (status != STATUS_OK && error != NULL) *error = keeper->error;
    pthread_mutex_unlock(&keeper->mutex);
    return status;
}
