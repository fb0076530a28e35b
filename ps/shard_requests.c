/* Pull, Push and Advance. Sizes are checked before memory is taken. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "ps/shard_state.h"

/* A table and the keys of a request for it. */
struct keys_request {
    struct shard_table *table;
    const uint64_unaligned *keys;
    uint32_t key_count;
    uint64_t floats;
};

/* `what` is "Pull" or "Push". */
static enum status check_keys(const struct shard *shard, const struct message *message,
                              const char *what, uint32_t table, uint32_t key_count,
                              unsigned payload_count, struct keys_request *keys,
                              struct error *error)
{
    if (table >= shard->table_count) {
        error_set(error, STATUS_INVALID, "%s of table %u: there are %u", what, table,
                  shard->table_count);
        return STATUS_INVALID;
    }
    keys->table = &shard->tables[table];
    const char *name = table_spec(keys->table->table)->name;
    if (message->payload_count != payload_count) {
        return error_set(error, STATUS_INVALID, "%s of \"%s\": %u payload frames; %u expected",
                         what, name, message->payload_count, payload_count);
    }
    if (key_count == 0 || message->payload[0].bytes != (uint64_t)key_count * sizeof(uint64_t)) {
        return error_set(error, STATUS_INVALID, "%s of \"%s\": %u keys in a frame of %zu bytes",
                         what, name, key_count, message->payload[0].bytes);
    }
    keys->keys = message->payload[0].data;
    keys->key_count = key_count;
    enum status status =
        table_floats(keys->table->table, keys->keys, key_count, &keys->floats, error);
    if (status != STATUS_OK) return status;
    if (keys->floats > WIRE_FRAME_BYTES_MAX / sizeof(float)) {
        return error_set(error, STATUS_INVALID,
                         "%s of \"%s\": rows of %" PRIu64 " bytes; a frame has at most %u", what,
                         name, keys->floats * sizeof(float), WIRE_FRAME_BYTES_MAX);
    }
    return STATUS_OK;
}

/* True when rows may be read at `clock`. */
static bool pull_allowed(const struct shard *shard, const struct table *table, uint64_t clock)
{
    const Anthill__TableSpec *spec = table_spec(table);
    switch (spec->consistency) {
    case ANTHILL__CONSISTENCY_MODE__CONSISTENCY_SSP:
        return staleness_allows(&shard->staleness, clock, spec->staleness);
    case ANTHILL__CONSISTENCY_MODE__CONSISTENCY_BSP:
        return staleness_allows(&shard->staleness, clock, 0);
    default:
        return true;
    }
}

/* Reads the rows into a frame and puts the reply. */
static enum status answer_pull(struct shard *shard, uint64_t peer, uint64_t request,
                               uint64_t session, const struct keys_request *keys, bool read_only,
                               struct outbox *outbox, struct error *error)
{
    struct table *table = keys->table->table;
    struct frame values = frame_create(keys->floats * sizeof(float));
    if (values.data == NULL) {
        return error_set(error, STATUS_NOMEM, "table \"%s\": no memory for %u rows",
                         table_spec(table)->name, keys->key_count);
    }
    enum status status =
        table_pull(table, keys->keys, keys->key_count, values.data, read_only, error);
    if (status != STATUS_OK) {
        frame_release(&values);
        return status;
    }
    shard->pulls++;
    shard->pulled_rows += keys->key_count;
    Anthill__PullReply body = ANTHILL__PULL_REPLY__INIT;
    body.clock_min = shard->staleness.clock_min;
    Anthill__Envelope reply = ANTHILL__ENVELOPE__INIT;
    reply.request = request;
    reply.session = session;
    reply.body_case = ANTHILL__ENVELOPE__BODY_PULL_REPLY;
    reply.pull_reply = &body;
    outbox_put(outbox, peer, &reply, &values, 1);
    return STATUS_OK;
}

/* Keeps a pull that is too far ahead. A repeat of one that waits replaces it. */
static enum status keep_pull(struct shard *shard, const struct shard_request *request,
                             const struct keys_request *keys, struct error *error)
{
    const Anthill__Envelope *envelope = request->envelope;
    struct waiting_pull *waits =
        waiting_pulls_find(&shard->waiting, envelope->session, envelope->request);
    if (waits != NULL) {
        waits->peer = request->message->peer;
        return STATUS_OK;
    }
    enum status status = STATUS_BUSY;
    if (request->session->waiting < WAITING_PULLS_PER_SESSION) {
        struct waiting_pull pull = {.peer = request->message->peer,
                                    .request = envelope->request,
                                    .session = envelope->session,
                                    .clock = envelope->pull->clock,
                                    .table = envelope->pull->table,
                                    .key_count = keys->key_count,
                                    .read_only = envelope->pull->read_only};
        status = waiting_pulls_add(&shard->waiting, &pull, keys->keys);
    }
    if (status == STATUS_OK) {
        request->session->waiting++;
        return STATUS_OK;
    }
    return error_set(error, status,
                     "table \"%s\": no room for a pull at clock %" PRIu64
                     ", ahead of the slowest trainer's %" PRIu64,
                     table_spec(keys->table->table)->name, envelope->pull->clock,
                     shard->staleness.clock_min);
}

enum status shard_pull(struct shard *shard, const struct shard_request *request,
                       struct error *error)
{
    const Anthill__Pull *pull = request->envelope->pull;
    struct keys_request keys = {0};
    enum status status =
        check_keys(shard, request->message, "Pull", pull->table, pull->key_count, 1, &keys, error);
    if (status != STATUS_OK) return status;
    if (!pull_allowed(shard, keys.table->table, pull->clock)) {
        return keep_pull(shard, request, &keys, error);
    }
    return answer_pull(shard, request->message->peer, request->envelope->request,
                       request->envelope->session, &keys, pull->read_only, request->outbox, error);
}

/* Takes a push into the table, or in bsp into the sums of its clock while that clock is open. */
static enum status take_push(struct shard *shard, const Anthill__Push *push,
                             const struct keys_request *keys, const float_unaligned *grads,
                             struct error *error)
{
    struct table *table = keys->table->table;
    bool sum = table_spec(table)->consistency == ANTHILL__CONSISTENCY_MODE__CONSISTENCY_BSP &&
               shard->staleness.count > 0 && push->clock >= shard->staleness.clock_min;
    if (!sum) {
        return table_push(table, keys->keys, keys->key_count, grads, push->rate_scale, error);
    }
    enum status status = table_push_prepare(table, keys->keys, keys->key_count, grads, error);
    if (status != STATUS_OK) return status;
    return gradient_sums_add(&keys->table->sums, table, push->clock, push->rate_scale, keys->keys,
                             keys->key_count, grads, error);
}

static void reply_push(const struct shard_request *request, bool repeated)
{
    Anthill__PushReply body = ANTHILL__PUSH_REPLY__INIT;
    body.repeated_push = repeated;
    Anthill__Envelope reply = ANTHILL__ENVELOPE__INIT;
    reply.body_case = ANTHILL__ENVELOPE__BODY_PUSH_REPLY;
    reply.push_reply = &body;
    shard_reply(request, &reply, NULL, 0);
}

enum status shard_push(struct shard *shard, const struct shard_request *request,
                       struct error *error)
{
    const Anthill__Push *push = request->envelope->push;
    struct push_window *window = &request->session->window;
    uint64_t sequence = request->envelope->sequence;
    if (sequence == 0) return error_set(error, STATUS_INVALID, "Push without a sequence");
    if (push_window_contains(window, sequence)) {
        shard->repeated_pushes++;
        reply_push(request, true);
        return STATUS_OK;
    }
    struct keys_request keys = {0};
    enum status status =
        check_keys(shard, request->message, "Push", push->table, push->key_count, 2, &keys, error);
    if (status != STATUS_OK) return status;
    const char *name = table_spec(keys.table->table)->name;
    if (request->message->payload[1].bytes != keys.floats * sizeof(float)) {
        return error_set(error, STATUS_INVALID,
                         "Push of \"%s\": %zu bytes of gradients; %" PRIu64 " expected", name,
                         request->message->payload[1].bytes, keys.floats * sizeof(float));
    }
    if (!isfinite(push->rate_scale) || push->rate_scale < 0 || push->clock == UINT64_MAX) {
        return error_set(error, STATUS_INVALID, "Push of \"%s\": rate_scale %g at clock %" PRIu64,
                         name, (double)push->rate_scale, push->clock);
    }
    status = take_push(shard, push, &keys, request->message->payload[1].data, error);
    if (status != STATUS_OK) return status;
    push_window_add(window, sequence);
    shard->pushes++;
    shard->pushed_rows += keys.key_count;
    reply_push(request, false);
    return STATUS_OK;
}

enum status shard_advance(struct shard *shard, const struct shard_request *request,
                          struct error *error)
{
    const Anthill__Advance *advance = request->envelope->advance;
    uint64_t session = request->envelope->session, sequence = request->envelope->sequence;
    if (sequence == 0) return error_set(error, STATUS_INVALID, "Advance without a sequence");
    bool repeated = push_window_contains(&request->session->window, sequence);
    if (!repeated && advance->leave) {
        staleness_leave(&shard->staleness, session);
    } else if (!repeated) {
        enum status status = staleness_advance(&shard->staleness, session, advance->clock);
        if (status != STATUS_OK) {
            return error_set(error, status, "no memory for the clock of session %" PRIu64, session);
        }
    }
    if (!repeated) push_window_add(&request->session->window, sequence);
    Anthill__AdvanceReply body = ANTHILL__ADVANCE_REPLY__INIT;
    body.clock = staleness_clock(&shard->staleness, session);
    body.clock_min = shard->staleness.clock_min;
    Anthill__Envelope reply = ANTHILL__ENVELOPE__INIT;
    reply.body_case = ANTHILL__ENVELOPE__BODY_ADVANCE_REPLY;
    reply.advance_reply = &body;
    shard_reply(request, &reply, NULL, 0);
    if (!repeated) shard_progress(shard, request->outbox);
    return STATUS_OK;
}

static void apply_sums(struct shard *shard)
{
    bool training = shard->staleness.count > 0;
    uint64_t clock = training ? shard->staleness.clock_min : UINT64_MAX;
    for (uint32_t i = 0; i < shard->table_count; i++) {
        struct shard_table *table = &shard->tables[i];
        shard->refused += gradient_sums_apply(&table->sums, table->table, clock);
    }
}

/* Answers the waiting pull `place` and removes it. */
static void answer_waiting(struct shard *shard, uint32_t place, struct outbox *outbox)
{
    const struct waiting_pull *pull = &shard->waiting.items[place];
    struct error error = {0};
    struct keys_request keys = {
        .table = &shard->tables[pull->table], .keys = pull->keys, .key_count = pull->key_count};
    enum status status =
        table_floats(keys.table->table, keys.keys, keys.key_count, &keys.floats, &error);
    if (status == STATUS_OK) {
        status = answer_pull(shard, pull->peer, pull->request, pull->session, &keys,
                             pull->read_only, outbox, &error);
    }
    if (status != STATUS_OK) shard_refuse(shard, pull->peer, pull->request, &error, outbox);
    struct session *session = session_set_find(&shard->sessions, pull->session);
    if (session != NULL) session->waiting--;
    waiting_pulls_remove(&shard->waiting, place);
}

void shard_progress(struct shard *shard, struct outbox *outbox)
{
    apply_sums(shard);
    uint32_t place = 0;
    while (place < shard->waiting.count) {
        const struct waiting_pull *pull = &shard->waiting.items[place];
        if (pull_allowed(shard, shard->tables[pull->table].table, pull->clock)) {
            answer_waiting(shard, place, outbox);
        } else {
            place++;
        }
    }
}
