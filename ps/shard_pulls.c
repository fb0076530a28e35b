/* Pulls: those that may be answered, and those that wait for slower trainers. */
#include <inttypes.h>
#include <stdlib.h>

#include "ps/shard_state.h"

/* A pull and where its answer goes. */
struct pull_answer {
    uint64_t peer, request, session;
    bool read_only;
    const void *held; /* conditional: [key_count] versions, u32 at any byte; else NULL */
    uint32_t behind;
    struct outbox *outbox;
};

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

static void reply_pull(struct shard *shard, const struct keys_request *keys,
                       const struct pull_answer *answer, struct frame *payload,
                       unsigned payload_count)
{
    Anthill__PullReply body = ANTHILL__PULL_REPLY__INIT;
    body.clock_min = shard->staleness.clock_min;
    body.updates = keys->table->ages.updates;
    body.at_ns = shard->now_ns;
    Anthill__Envelope reply = ANTHILL__ENVELOPE__INIT;
    reply.request = answer->request;
    reply.session = answer->session;
    reply.body_case = ANTHILL__ENVELOPE__BODY_PULL_REPLY;
    reply.pull_reply = &body;
    outbox_put(answer->outbox, answer->peer, &reply, payload, payload_count);
}

/* Gathers the rows straight into the client's array. */
static enum status pull_to_block(struct shard *shard, const struct keys_request *keys,
                                 const struct pull_answer *answer, struct error *error)
{
    const struct block_part *part = &keys->part;
    if (!shard_memory_take(part)) return STATUS_OK; /* nobody waits for it any more */
    const struct row_target target = {.rows = part->rows, .positions = part->positions};
    enum status status = table_pull_to(keys->table->table, keys->keys, keys->key_count, &target,
                                       answer->read_only, error);
    shard_memory_leave(part, status == STATUS_OK);
    if (status == STATUS_OK) reply_pull(shard, keys, answer, NULL, 0);
    return status;
}

/* Rows into frame 0; of a conditional pull those that are newer, and all versions into frame 1. */
static enum status pull_to_frames(struct shard *shard, const struct keys_request *keys,
                                  const struct pull_answer *answer, struct error *error)
{
    bool conditional = answer->held != NULL;
    struct frame payload[2] = {frame_create(keys->value_bytes), {0}};
    if (conditional) payload[1] = frame_create(keys->key_count * sizeof(uint32_t));
    const struct row_target target = {.rows = payload[0].data, .encoding = keys->encoding};
    enum status status;
    if (payload[0].data == NULL || (conditional && payload[1].data == NULL)) {
        status = error_set(error, STATUS_NOMEM, "table \"%s\": no memory for %u rows", keys->name,
                           keys->key_count);
    } else if (conditional) {
        uint32_t sent;
        status = table_pull_newer(keys->table->table, keys->keys, keys->key_count, answer->held,
                                  answer->behind, &target, answer->read_only, payload[1].data,
                                  &sent, error);
        if (status == STATUS_OK) payload[0].bytes = payload[0].bytes / keys->key_count * sent;
    } else {
        status = table_pull_to(keys->table->table, keys->keys, keys->key_count, &target,
                               answer->read_only, error);
    }
    if (status == STATUS_OK) {
        reply_pull(shard, keys, answer, payload, conditional ? 2 : 1);
        return STATUS_OK;
    }
    frame_release(&payload[0]);
    frame_release(&payload[1]);
    return status;
}

static enum status answer_pull(struct shard *shard, const struct keys_request *keys,
                               const struct pull_answer *answer, struct error *error)
{
    enum status status = keys->part.block != NULL ? pull_to_block(shard, keys, answer, error)
                                                  : pull_to_frames(shard, keys, answer, error);
    if (status != STATUS_OK) return status;
    shard->pulls++;
    shard->pulled_rows += keys->key_count;
    return STATUS_OK;
}

/* Keeps a pull that is too far ahead. A repeat of one that waits replaces it. */
static enum status keep_pull(struct shard *shard, const struct shard_request *request,
                             const struct keys_request *keys, const struct pull_answer *answer,
                             struct error *error)
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
                                    .value_bytes = keys->value_bytes,
                                    .encoding = keys->encoding,
                                    .read_only = envelope->pull->read_only,
                                    .behind = envelope->pull->behind,
                                    .block = envelope->pull->block};
        if (pull.block != 0) {
            pull.rows = (uint64_t)(keys->part.rows - request->session->memory.base);
        }
        const void *numbers = pull.block != 0 ? keys->part.positions : answer->held;
        status = waiting_pulls_add(&shard->waiting, &pull, keys->keys, numbers);
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
    struct pull_answer answer = {.peer = request->message->peer,
                                 .request = request->envelope->request,
                                 .session = request->envelope->session,
                                 .read_only = pull->read_only,
                                 .behind = pull->behind,
                                 .outbox = request->outbox};
    struct keys_request keys = {
        .what = "Pull", .key_count = pull->key_count, .encoding = pull->encoding};
    enum status status = STATUS_OK;
    if (pull->conditional && pull->block != 0) {
        status = error_set(error, STATUS_INVALID, "Pull of table %u: conditional, and block %u",
                           pull->table, pull->block);
    }
    if (status == STATUS_OK) {
        status = shard_keys_check(shard, request, pull->table, pull->block,
                                  pull->conditional ? 2 : 1, &keys, error);
    }
    if (status == STATUS_OK && pull->conditional) {
        answer.held = request->message->payload[1].data;
        status = shard_keys_frame(request, &keys, (uint64_t)keys.key_count * sizeof(uint32_t),
                                  "versions", error);
    }
    if (status != STATUS_OK) return status;
    if (pull->block != 0 && keys.part.phase != BLOCK_PENDING) {
        if (keys.part.phase == BLOCK_DONE) reply_pull(shard, &keys, &answer, NULL, 0);
        return STATUS_OK;
    }
    if (!pull_allowed(shard, keys.table->table, pull->clock)) {
        return keep_pull(shard, request, &keys, &answer, error);
    }
    return answer_pull(shard, &keys, &answer, error);
}

/* ---- those that wait ------------------------------------------------------------------------ */

void shard_drop_waiting(struct shard *shard, uint32_t place)
{
    struct session *session =
        session_set_find(&shard->sessions, shard->waiting.items[place].session);
    if (session != NULL) session->waiting--;
    waiting_pulls_remove(&shard->waiting, place);
}

/* Answers the waiting pull `place` and removes it. */
static void answer_waiting(struct shard *shard, uint32_t place, struct outbox *outbox)
{
    const struct waiting_pull *pull = &shard->waiting.items[place];
    const struct pull_answer answer = {.peer = pull->peer,
                                       .request = pull->request,
                                       .session = pull->session,
                                       .read_only = pull->read_only,
                                       .held = pull->block == 0 ? pull->numbers : NULL,
                                       .behind = pull->behind,
                                       .outbox = outbox};
    struct keys_request keys = {
        .what = "Pull", .key_count = pull->key_count, .encoding = pull->encoding};
    struct error error = {0};
    enum status status = shard_keys_table(shard, pull->table, false, &keys, &error);
    if (status == STATUS_OK) {
        keys.keys = pull->keys;
        keys.value_bytes = pull->value_bytes;
        if (pull->block != 0) {
            unsigned char *base = session_set_find(&shard->sessions, pull->session)->memory.base;
            keys.part = (struct block_part){.block = shared_block_at(base, pull->block),
                                            .id = pull->request,
                                            .positions = pull->numbers,
                                            .rows = base + pull->rows};
        }
        status = answer_pull(shard, &keys, &answer, &error);
    }
    if (status != STATUS_OK) shard_refuse(shard, pull->peer, pull->request, &error, outbox);
    shard_drop_waiting(shard, place);
}

void shard_answer_waiting(struct shard *shard, struct outbox *outbox)
{
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
