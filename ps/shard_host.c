/* Reading order: what the coordinator is told; its orders; clients; time. */
#include "ps/shard_host.h"

#include <inttypes.h>
#include <stdlib.h>

#include "common/check.h"
#include "ps/shard_checkpoint.h"

#define NS_PER_S          UINT64_C(1000000000)
#define BEAT_NS           NS_PER_S
#define BUSY_NS           (NS_PER_S / 100) /* after a request, more are expected */
#define SESSION_IDLE_NS   (600 * NS_PER_S)
#define DAMAGED_STEPS_MAX 64
#define INDEX_UNKNOWN     UINT32_MAX

/* A shard that this thread serves, by its index in the slot map. */
struct hosted_shard {
    uint32_t index;
    struct shard *shard;
    struct shard_checkpoint *checkpoint;
    uint64_t told_step; /* the coordinator was told how it went */
};

struct shard_host {
    struct shard_host_options options;
    struct hosted_shard *hosted; /* [hosted_count]; the first is at home here */
    uint32_t hosted_count;

    uint64_t request, map_version;
    bool serves;     /* it has restored */
    bool registered; /* the coordinator knows that it serves */
    uint64_t heard_ns, beat_due_ns;
    bool restoring;
    uint64_t restored_step; /* or the one that is being restored */
    uint64_t damaged_steps[DAMAGED_STEPS_MAX];
    uint32_t damaged_count;
    struct error damage; /* of the last of them */

    uint64_t served_ns; /* the last request */
    bool served;        /* since the last turn */

    bool ended;
    struct error error;
};

/* ---- beginning and end ---------------------------------------------------------------------- */

enum status shard_host_create(struct shard_host **result, const struct shard_host_options *options,
                              uint64_t now_ns, struct error *error)
{
    struct shard_host *host = calloc(1, sizeof *host);
    struct hosted_shard *home = calloc(1, sizeof *home);
    const struct shard_options shard_options = {
        .server = options->server,
        .shard = options->shard,
        .incarnation = options->incarnation,
        .session_idle_ns = SESSION_IDLE_NS,
        .memory = options->memory,
    };
    if (host == NULL || home == NULL || shard_create(&home->shard, &shard_options) != STATUS_OK) {
        free(host);
        free(home);
        return error_set(error, STATUS_NOMEM, "no memory for shard %u", options->shard);
    }
    home->index = INDEX_UNKNOWN;
    const struct shard_checkpoint_options checkpoint_options = {
        .shard = home->shard,
        .writer = options->writer,
        .server = options->server,
        .shard_index = options->shard,
        .metrics = options->metrics,
        .now_ns = options->now_ns,
    };
    home->checkpoint = shard_checkpoint_create(&checkpoint_options);
    *host = (struct shard_host){
        .options = *options, .hosted = home, .hosted_count = 1, .heard_ns = now_ns};
    *result = host;
    return STATUS_OK;
}

void shard_host_destroy(struct shard_host *host)
{
    if (host == NULL) return;
    for (uint32_t i = 0; i < host->hosted_count; i++) {
        shard_checkpoint_destroy(host->hosted[i].checkpoint);
        shard_destroy(host->hosted[i].shard);
    }
    free(host->hosted);
    free(host);
}

static void end(struct shard_host *host, const struct error *error)
{
    host->ended = true;
    host->error = *error;
}

bool shard_host_ended(const struct shard_host *host, struct error *error)
{
    if (host->ended && error != NULL) *error = host->error;
    return host->ended;
}

bool shard_host_serves(const struct shard_host *host)
{
    return host->serves;
}

uint64_t shard_host_restored_step(const struct shard_host *host)
{
    return host->restored_step;
}

const struct shard *shard_host_home(const struct shard_host *host)
{
    return host->hosted[0].shard;
}

/* ---- to the coordinator --------------------------------------------------------------------- */

static void tell(struct shard_host *host, Anthill__Envelope *envelope,
                 struct shard_host_output *output)
{
    envelope->request = ++host->request;
    envelope->map_version = host->map_version;
    outbox_put(&output->coordinator, 0, envelope, NULL, 0);
}

static void tell_register(struct shard_host *host, struct shard_host_output *output)
{
    Anthill__ShardRegister body = ANTHILL__SHARD_REGISTER__INIT;
    body.server = host->options.server;
    body.shard = host->options.shard;
    body.endpoint = (char *)host->options.endpoint;
    body.incarnation = host->options.incarnation;
    body.restored_step = host->restored_step;
    body.ready = host->serves;
    body.n_damaged_steps = host->damaged_count;
    body.damaged_steps = host->damaged_steps;
    if (host->damaged_count > 0) body.text = host->damage.text;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_SHARD_REGISTER;
    envelope.shard_register = &body;
    tell(host, &envelope, output);
}

static void tell_heartbeat(struct shard_host *host, struct shard_host_output *output)
{
    struct hosted_shard *home = &host->hosted[0];
    struct shard_stats stats;
    shard_stats(home->shard, &stats);
    Anthill__ShardHeartbeat body = ANTHILL__SHARD_HEARTBEAT__INIT;
    body.server = host->options.server;
    body.shard = host->options.shard;
    body.incarnation = host->options.incarnation;
    body.rows = stats.rows;
    body.bytes = stats.bytes;
    body.pulls = stats.pulled_rows;
    body.pushes = stats.pushed_rows;
    body.clock_min = stats.clock_min;
    const struct shard_checkpoint_report *report = shard_checkpoint_report(home->checkpoint);
    if (!report->ended) {
        body.checkpoint_step = report->step;
        body.checkpoint_bytes = report->written;
    }
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_SHARD_HEARTBEAT;
    envelope.shard_heartbeat = &body;
    tell(host, &envelope, output);
}

static void tell_checkpoint(struct shard_host *host, struct hosted_shard *hosted,
                            struct shard_host_output *output)
{
    const struct shard_checkpoint_report *report = shard_checkpoint_report(hosted->checkpoint);
    Anthill__CheckpointDone body = ANTHILL__CHECKPOINT_DONE__INIT;
    body.server = host->options.server;
    body.shard = host->options.shard;
    body.step = report->step;
    body.status = (uint32_t)report->error.status;
    body.text = (char *)report->error.text;
    body.base_step = report->base;
    body.bytes = report->result.bytes;
    body.checksum = report->result.checksum;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_CHECKPOINT_DONE;
    envelope.checkpoint_done = &body;
    tell(host, &envelope, output);
    hosted->told_step = report->step;
}

/* ---- its orders ----------------------------------------------------------------------------- */

static bool is_damaged(const struct shard_host *host, uint64_t step)
{
    for (uint32_t i = 0; i < host->damaged_count; i++) {
        if (host->damaged_steps[i] == step) return true;
    }
    return false;
}

/* Finds the place in the slot map of the shard that is at home here. */
static bool find_home(struct shard_host *host, const Anthill__SlotMap *map)
{
    for (size_t i = 0; map != NULL && i < map->n_shards; i++) {
        const Anthill__ShardEntry *entry = map->shards[i];
        if (entry->server != host->options.server || entry->shard != host->options.shard) continue;
        host->hosted[0].index = (uint32_t)i;
        return map->slot_count > 0 && map->n_owners == map->slot_count;
    }
    return false;
}

static void become_ready(struct shard_host *host, struct shard_host_output *output)
{
    host->serves = true;
    tell_register(host, output);
}

static void follow_restore(struct shard_host *host, const Anthill__ShardOrder *order,
                           struct shard_host_output *output)
{
    uint64_t step = order->restore_step;
    /* An order that came twice. */
    if (host->serves || host->restoring || is_damaged(host, step)) return;
    host->restored_step = step;
    if (step == 0) {
        become_ready(host, output);
        return;
    }
    struct hosted_shard *home = &host->hosted[0];
    const struct shard_host_options *options = &host->options;
    struct error error = {0};
    enum status status;
    if (find_home(host, order->map)) {
        status =
            options->restore(options->context, home->shard, step, order->map, home->index, &error);
    } else {
        status = error_set(&error, STATUS_CORRUPT,
                           "coordinator at %s: its order to restore has no slot map with server %u "
                           "shard %u",
                           options->coordinator, options->server, options->shard);
    }
    host->restoring = status == STATUS_OK;
    if (status != STATUS_OK) end(host, &error);
}

void shard_host_restored(struct shard_host *host, const struct error *error,
                         struct shard_host_output *output)
{
    CHECK(host->restoring);
    host->restoring = false;
    enum status status = error->status;
    if (status == STATUS_STOPPED) return; /* so is the thread */
    if (status == STATUS_OK) {
        become_ready(host, output);
    } else if ((status == STATUS_CORRUPT || status == STATUS_NOT_FOUND) &&
               host->damaged_count < DAMAGED_STEPS_MAX) {
        host->damaged_steps[host->damaged_count++] = host->restored_step;
        host->damage = *error;
        host->restored_step = 0;
        tell_register(host, output);
    } else {
        end(host, error);
    }
}

static void follow_checkpoint(struct shard_host *host, const Anthill__ShardOrder *order,
                              struct shard_host_output *output)
{
    struct hosted_shard *home = &host->hosted[0];
    uint64_t step = order->checkpoint_step;
    shard_checkpoint_order(home->checkpoint, step, order->checkpoint_base);
    const struct shard_checkpoint_report *report = shard_checkpoint_report(home->checkpoint);
    /* What was said of it is lost when the order comes again. */
    if (step != 0 && step == report->step && report->ended) tell_checkpoint(host, home, output);
}

static void follow(struct shard_host *host, const Anthill__ShardOrder *order,
                   struct shard_host_output *output)
{
    if (order->stop) {
        end(host, &(struct error){.status = STATUS_OK});
        return;
    }
    if (order->restore) {
        follow_restore(host, order, output);
        return;
    }
    if (!host->serves) return;
    struct shard *shard = host->hosted[0].shard;
    host->registered = true;
    if (order->map != NULL && order->map->version != host->map_version) {
        host->map_version = order->map->version;
        (void)find_home(host, order->map);
        shard_set_map_version(shard, host->map_version);
    }
    if (order->n_sessions_gone > 0) {
        shard_sessions_gone(shard, order->sessions_gone, (uint32_t)order->n_sessions_gone,
                            &output->clients);
    }
    follow_checkpoint(host, order, output);
}

static void hear_error(struct shard_host *host, const Anthill__Envelope *envelope)
{
    struct error error;
    enum status status = wire_error(envelope, &error);
    if (status == STATUS_NOT_FOUND) { /* a coordinator that does not know this shard yet */
        host->registered = false;
        host->beat_due_ns = 0;
    } else if (status != STATUS_BUSY) {
        error_wrap(&error, status, "coordinator at %s", host->options.coordinator);
        end(host, &error);
    }
}

void shard_host_hear(struct shard_host *host, uint64_t now_ns, const struct message *message,
                     struct shard_host_output *output)
{
    const Anthill__Envelope *envelope = message->envelope;
    if (host->ended) return;
    host->heard_ns = now_ns;
    if (envelope->body_case == ANTHILL__ENVELOPE__BODY_SHARD_ORDER) {
        follow(host, envelope->shard_order, output);
    } else if (envelope->body_case == ANTHILL__ENVELOPE__BODY_ERROR) {
        hear_error(host, envelope);
    }
}

/* ---- clients -------------------------------------------------------------------------------- */

/* NULL: it is not here. */
static struct hosted_shard *find_hosted(struct shard_host *host, const Anthill__Envelope *envelope)
{
    if (envelope->shard == 0) return &host->hosted[0];
    for (uint32_t i = 0; i < host->hosted_count; i++) {
        if (host->hosted[i].index == envelope->shard - 1) return &host->hosted[i];
    }
    return NULL;
}

void shard_host_handle(struct shard_host *host, uint64_t now_ns, const struct message *message,
                       struct shard_host_output *output)
{
    const Anthill__Envelope *envelope = message->envelope;
    struct hosted_shard *hosted = find_hosted(host, envelope);
    host->served_ns = now_ns;
    host->served = true;
    if (hosted != NULL) {
        shard_handle(hosted->shard, now_ns, message, &output->clients);
        return;
    }
    struct error error;
    error_set(&error, STATUS_BUSY, "shard %" PRIu32 " of the slot map is not served at %s",
              envelope->shard - 1, host->options.endpoint);
    outbox_put_error(&output->clients, message->peer, envelope->request, &error);
}

/* ---- time ----------------------------------------------------------------------------------- */

/* Once a second: says that this thread lives, and looks after what expires. */
static void beat(struct shard_host *host, uint64_t now_ns, struct shard_host_output *output)
{
    host->beat_due_ns = now_ns + BEAT_NS;
    if (!host->registered) tell_register(host, output);
    if (!host->serves) return;
    for (uint32_t i = 0; i < host->hosted_count; i++)
        shard_tick(host->hosted[i].shard, now_ns, &output->clients);
    if (host->registered) tell_heartbeat(host, output);
}

/* A host that serves goes on without the coordinator; one that has not begun cannot. */
static void check_silence(struct shard_host *host, uint64_t now_ns)
{
    if (host->serves || now_ns - host->heard_ns < host->options.timeout_ns) return;
    struct error error;
    error_set(&error, STATUS_UNAVAILABLE, "coordinator at %s has not answered for %.1f s",
              host->options.coordinator, (double)(now_ns - host->heard_ns) / (double)NS_PER_S);
    end(host, &error);
}

/* Goes on with a checkpoint; returns when it wants to be called again, in ns from now. */
static uint64_t turn_checkpoint(struct shard_host *host, struct hosted_shard *hosted, bool busy,
                                struct shard_host_output *output)
{
    uint64_t rest_ns = shard_checkpoint_turn(hosted->checkpoint, busy);
    const struct shard_checkpoint_report *report = shard_checkpoint_report(hosted->checkpoint);
    if (report->ended && report->step != hosted->told_step) tell_checkpoint(host, hosted, output);
    return rest_ns;
}

uint64_t shard_host_turn(struct shard_host *host, uint64_t now_ns, struct shard_host_output *output)
{
    if (host->ended) return 0;
    if (now_ns >= host->beat_due_ns) beat(host, now_ns, output);
    check_silence(host, now_ns);
    bool busy = host->served || now_ns - host->served_ns < BUSY_NS;
    uint64_t rest_ns = host->beat_due_ns - now_ns;
    host->served = false;
    for (uint32_t i = 0; i < host->hosted_count; i++) {
        uint64_t wants_ns = turn_checkpoint(host, &host->hosted[i], busy, output);
        if (wants_ns < rest_ns) rest_ns = wants_ns;
    }
    return rest_ns;
}
