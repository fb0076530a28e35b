/* Pull, Push and Advance. Sizes are checked before memory is taken. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ps/shard_state.h"

/* What is asked of a table. */
struct keys_request {
    const char *what; /* "Pull" or "Push" */
    struct shard_table *table;
    const char *name; /* of the table */
    const uint64_unaligned *keys;
    uint32_t key_count;
    uint64_t floats;
    struct block_part part; /* in shared memory, or part.block is NULL */
};

static enum status find_table(const struct shard *shard, const char *what, uint32_t table,
                              uint32_t key_count, struct keys_request *keys, struct error *error)
{
    if (table >= shard->table_count) {
        return error_set(error, STATUS_INVALID, "%s of table %u: there are %u", what, table,
                         shard->table_count);
    }
    *keys =
        (struct keys_request){.what = what, .table = &shard->tables[table], .key_count = key_count};
    keys->name = table_spec(keys->table->table)->name;
    return STATUS_OK;
}

/* Keys in frame 0 of `payload_count` frames. */
static enum status check_frames(const struct message *message, unsigned payload_count,
                                struct keys_request *keys, struct error *error)
{
    if (message->payload_count != payload_count) {
        return error_set(error, STATUS_INVALID, "%s of \"%s\": %u payload frames; %u expected",
                         keys->what, keys->name, message->payload_count, payload_count);
    }
    if (keys->key_count == 0 ||
        message->payload[0].bytes != (uint64_t)keys->key_count * sizeof(uint64_t)) {
        return error_set(error, STATUS_INVALID, "%s of \"%s\": %u keys in a frame of %zu bytes",
                         keys->what, keys->name, keys->key_count, message->payload[0].bytes);
    }
    keys->keys = message->payload[0].data;
    enum status status =
        table_floats(keys->table->table, keys->keys, keys->key_count, &keys->floats, error);
    if (status != STATUS_OK) return status;
    if (keys->floats > WIRE_FRAME_BYTES_MAX / sizeof(float)) {
        return error_set(error, STATUS_INVALID,
                         "%s of \"%s\": rows of %" PRIu64 " bytes; a frame has at most %u",
                         keys->what, keys->name, keys->floats * sizeof(float),
                         WIRE_FRAME_BYTES_MAX);
    }
    return STATUS_OK;
}

/* Keys and rows in block `number` of the session's memory. */
static enum status check_block(struct shard *shard, const struct shard_request *request,
                               uint32_t number, struct keys_request *keys, struct error *error)
{
    const Anthill__TableSpec *spec = table_spec(keys->table->table);
    enum status status;
    if (spec->kind != ANTHILL__TABLE_KIND__TABLE_SPARSE) {
        status = error_set(error, STATUS_INVALID, "block %u for a dense table", number);
    } else if (request->message->payload_count != 0) {
        status = error_set(error, STATUS_INVALID, "block %u and %u payload frames", number,
                           request->message->payload_count);
    } else {
        status = shard_memory_read(shard, request->session, number, request->envelope->request,
                                   keys->key_count, (uint64_t)spec->dim * sizeof(float),
                                   &keys->part, error);
    }
    keys->keys = keys->part.keys;
    keys->floats = (uint64_t)keys->key_count * spec->dim;
    if (status == STATUS_OK) return status;
    return error_wrap(error, status, "%s of \"%s\"", keys->what, keys->name);
}

static enum status check_encoding(const struct keys_request *keys, Anthill__Encoding encoding,
                                  struct error *error)
{
    bool known = encoding == ANTHILL__ENCODING__ENCODING_F32;
    if (known) return STATUS_OK;
    return error_set(error, STATUS_INVALID, "%s of \"%s\": rows in encoding %u, which this %s",
                     keys->what, keys->name, (unsigned)encoding,
                     keys->part.block != NULL ? "memory does not hold" : "version does not know");
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

/* Where a pull's answer goes. */
struct pull_target {
    uint64_t peer, request, session;
    bool read_only;
    struct outbox *outbox;
};

static void reply_pull(struct shard *shard, const struct pull_target *target, struct frame *values,
                       unsigned values_count)
{
    Anthill__PullReply body = ANTHILL__PULL_REPLY__INIT;
    body.clock_min = shard->staleness.clock_min;
    Anthill__Envelope reply = ANTHILL__ENVELOPE__INIT;
    reply.request = target->request;
    reply.session = target->session;
    reply.body_case = ANTHILL__ENVELOPE__BODY_PULL_REPLY;
    reply.pull_reply = &body;
    outbox_put(target->outbox, target->peer, &reply, values, values_count);
}

/* Gathers the rows straight into the client's array. */
static enum status pull_to_block(struct shard *shard, const struct keys_request *keys,
                                 const struct pull_target *target, struct error *error)
{
    struct table *table = keys->table->table;
    const struct block_part *part = &keys->part;
    uint32_t dim = table_spec(table)->dim;
    if (!shard_memory_take(part)) return STATUS_OK; /* nobody waits for it any more */
    enum status status = STATUS_OK;
    float *rows = (float *)(void *)part->rows;
    if (part->positions == NULL) {
        status = table_pull(table, keys->keys, keys->key_count, rows, target->read_only, error);
    }
    for (uint32_t i = 0; part->positions != NULL && i < keys->key_count && status == STATUS_OK; i++)
        status = table_pull(table, &keys->keys[i], 1, rows + (uint64_t)part->positions[i] * dim,
                            target->read_only, error);
    shard_memory_leave(part, status == STATUS_OK);
    if (status == STATUS_OK) reply_pull(shard, target, NULL, 0);
    return status;
}

static enum status pull_to_frame(struct shard *shard, const struct keys_request *keys,
                                 const struct pull_target *target, struct error *error)
{
    struct frame values = frame_create(keys->floats * sizeof(float));
    if (values.data == NULL) {
        return error_set(error, STATUS_NOMEM, "table \"%s\": no memory for %u rows", keys->name,
                         keys->key_count);
    }
    enum status status = table_pull(keys->table->table, keys->keys, keys->key_count, values.data,
                                    target->read_only, error);
    if (status == STATUS_OK) {
        reply_pull(shard, target, &values, 1);
    } else {
        frame_release(&values);
    }
    return status;
}

static enum status answer_pull(struct shard *shard, const struct keys_request *keys,
                               const struct pull_target *target, struct error *error)
{
    enum status status = keys->part.block != NULL ? pull_to_block(shard, keys, target, error)
                                                  : pull_to_frame(shard, keys, target, error);
    if (status != STATUS_OK) return status;
    shard->pulls++;
    shard->pulled_rows += keys->key_count;
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
                                    .read_only = envelope->pull->read_only,
                                    .block = envelope->pull->block};
        if (pull.block != 0) {
            pull.rows = (uint64_t)(keys->part.rows - request->session->memory.base);
        }
        status = waiting_pulls_add(&shard->waiting, &pull, keys->keys, keys->part.positions);
    }
    if (status == STATUS_OK) {
        request->session->waiting++;
        return STATUS_OK;
    }
    return error_set(error, status,
                     "table \"%s\": no room for a pull at clock %" PRIu64
                     ", ahead of the slowest trainer's %" PRIu64,
                     keys->name, envelope->pull->clock, shard->staleness.clock_min);
}

enum status shard_pull(struct shard *shard, const struct shard_request *request,
                       struct error *error)
{
    const Anthill__Pull *pull = request->envelope->pull;
    const struct pull_target target = {.peer = request->message->peer,
                                       .request = request->envelope->request,
                                       .session = request->envelope->session,
                                       .read_only = pull->read_only,
                                       .outbox = request->outbox};
    struct keys_request keys;
    enum status status = find_table(shard, "Pull", pull->table, pull->key_count, &keys, error);
    if (status != STATUS_OK) return status;
    status = pull->block != 0 ? check_block(shard, request, pull->block, &keys, error)
                              : check_frames(request->message, 1, &keys, error);
    if (status == STATUS_OK) status = check_encoding(&keys, pull->encoding, error);
    if (status != STATUS_OK) return status;
    if (pull->block != 0 && keys.part.phase != BLOCK_PENDING) {
        if (keys.part.phase == BLOCK_DONE) reply_pull(shard, &target, NULL, 0);
        return STATUS_OK;
    }
    if (!pull_allowed(shard, keys.table->table, pull->clock)) {
        return keep_pull(shard, request, &keys, error);
    }
    return answer_pull(shard, &keys, &target, error);
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

/* Keys in frame 0, gradients in frame 1. */
static enum status check_gradients(const struct message *message, struct keys_request *keys,
                                   struct error *error)
{
    enum status status = check_frames(message, 2, keys, error);
    if (status != STATUS_OK) return status;
    uint64_t expected = keys->floats * sizeof(float);
    if (message->payload[1].bytes == expected) return STATUS_OK;
    return error_set(error, STATUS_INVALID,
                     "Push of \"%s\": %zu bytes of gradients; %" PRIu64 " expected", keys->name,
                     message->payload[1].bytes, expected);
}

/* Takes gradients straight from the client's array. */
static enum status push_from_block(struct shard *shard, const Anthill__Push *push,
                                   const struct keys_request *keys, struct error *error)
{
    const struct block_part *part = &keys->part;
    const float_unaligned *grads = (const float_unaligned *)(const void *)part->rows;
    uint32_t dim = table_spec(keys->table->table)->dim;
    enum status status = STATUS_OK;
    float *gathered = NULL;
    if (part->positions != NULL) {
        gathered = malloc(keys->floats * sizeof *gathered);
        if (gathered == NULL) status = error_set(error, STATUS_NOMEM, "no memory for a push");
        for (uint32_t i = 0; status == STATUS_OK && i < keys->key_count; i++)
            memcpy(gathered + (uint64_t)i * dim, grads + (uint64_t)part->positions[i] * dim,
                   dim * sizeof *gathered);
        grads = gathered;
    }
    if (status == STATUS_OK) status = take_push(shard, push, keys, grads, error);
    free(gathered);
    shard_memory_leave(part, status == STATUS_OK);
    return status;
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
    struct keys_request keys;
    enum status status = find_table(shard, "Push", push->table, push->key_count, &keys, error);
    if (status != STATUS_OK) return status;
    status = push->block != 0 ? check_block(shard, request, push->block, &keys, error)
                              : check_gradients(request->message, &keys, error);
    if (status == STATUS_OK) status = check_encoding(&keys, push->encoding, error);
    if (status != STATUS_OK) return status;
    if (!isfinite(push->rate_scale) || push->rate_scale < 0 || push->clock == UINT64_MAX) {
        return error_set(error, STATUS_INVALID, "Push of \"%s\": rate_scale %g at clock %" PRIu64,
                         keys.name, (double)push->rate_scale, push->clock);
    }
    if (push->block != 0 && (keys.part.phase != BLOCK_PENDING || !shard_memory_take(&keys.part))) {
        if (keys.part.phase == BLOCK_DONE) reply_push(request, true);
        return STATUS_OK;
    }
    status = push->block != 0
                 ? push_from_block(shard, push, &keys, error)
                 : take_push(shard, push, &keys, request->message->payload[1].data, error);
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
    const struct pull_target target = {.peer = pull->peer,
                                       .request = pull->request,
                                       .session = pull->session,
                                       .read_only = pull->read_only,
                                       .outbox = outbox};
    struct error error = {0};
    struct keys_request keys;
    enum status status = find_table(shard, "Pull", pull->table, pull->key_count, &keys, &error);
    keys.keys = pull->keys;
    if (pull->block != 0) {
        unsigned char *base = session_set_find(&shard->sessions, pull->session)->memory.base;
        keys.part = (struct block_part){.block = shared_block_at(base, pull->block),
                                        .id = pull->request,
                                        .positions = pull->positions,
                                        .rows = base + pull->rows};
    }
    if (status == STATUS_OK) {
        status = table_floats(keys.table->table, keys.keys, keys.key_count, &keys.floats, &error);
    }
    if (status == STATUS_OK) status = answer_pull(shard, &keys, &target, &error);
    if (status != STATUS_OK) shard_refuse(shard, pull->peer, pull->request, &error, outbox);
    shard_drop_waiting(shard, place);
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
