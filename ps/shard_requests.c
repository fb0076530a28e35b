/* What changes rows and clocks, and Scan. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "ps/row_codec.h"
#include "ps/shard_state.h"

#define SCAN_KEYS_MIN 64u
#define SCAN_KEYS_MAX 65536u

/* ---- Push ----------------------------------------------------------------------------------- */

/* Sums are kept as f32, in the order of the keys. */
static enum status add_to_sums(struct shard *shard, const struct keys_request *keys,
                               const Anthill__Push *push, const struct row_source *source,
                               struct error *error)
{
    struct table *table = keys->table->table;
    const float_unaligned *grads = source->rows;
    float *decoded = NULL;
    if (source->positions != NULL || source->encoding != ANTHILL__ENCODING__ENCODING_F32) {
        uint32_t dim = table_spec(table)->dim;
        size_t row_bytes = row_codec_bytes(source->encoding, dim);
        decoded = malloc((size_t)keys->key_count * dim * sizeof *decoded);
        if (decoded == NULL) {
            return error_set(error, STATUS_NOMEM, "table \"%s\": no memory for a push", keys->name);
        }
        for (uint32_t i = 0; i < keys->key_count; i++) {
            size_t place = source->positions != NULL ? source->positions[i] : i;
            row_codec_decode(source->encoding, (const char *)source->rows + place * row_bytes,
                             decoded + (size_t)i * dim, dim);
        }
        grads = decoded;
    }
    enum status status = table_push_prepare(table, keys->keys, keys->key_count, grads, error);
    if (status == STATUS_OK) {
        status = gradient_sums_add(&keys->table->sums, table, push->clock, push->rate_scale,
                                   keys->keys, keys->key_count, grads, error);
    }
    if (status == STATUS_OK) shard_log_sums(shard, keys->table, push, keys->keys, grads);
    free(decoded);
    return status;
}

/* Of a gradient that is t updates old, t > 1: 1 / t of the push's (Zhang et al. 2016,
 * Staleness-aware async-SGD, equation 6). */
static float rate_scale_of(const struct keys_request *keys, const Anthill__Push *push,
                           const struct gradient_origin *origin)
{
    uint64_t age = gradient_ages_updates(&keys->table->ages, origin);
    bool scale = table_spec(keys->table->table)->compensate && age > 1;
    return scale ? push->rate_scale / (float)age : push->rate_scale;
}

static struct gradient_origin origin_of(const struct shard *shard,
                                        const struct shard_request *request)
{
    const Anthill__Push *push = request->envelope->push;
    bool ahead = push->clock > push->pulled_clock_min;
    return (struct gradient_origin){
        .updates = push->pulled_updates,
        .ns = push->pulled_ns,
        .unseen = ahead ? push->clock - push->pulled_clock_min : 0,
        .trains = staleness_trains(&shard->staleness, request->envelope->session),
        .continues = push->continues,
    };
}

/* Takes a push into the table, or in bsp into the sums of its clock while that clock is open. */
static enum status take_push(struct shard *shard, const struct shard_request *request,
                             const struct keys_request *keys, const struct row_source *source,
                             struct error *error)
{
    const Anthill__Push *push = request->envelope->push;
    const struct gradient_origin origin = origin_of(shard, request);
    struct table *table = keys->table->table;
    bool sum = table_spec(table)->consistency == ANTHILL__CONSISTENCY_MODE__CONSISTENCY_BSP &&
               shard->staleness.count > 0 && push->clock >= shard->staleness.clock_min;
    enum status status =
        sum ? add_to_sums(shard, keys, push, source, error)
            : table_push_from(table, keys->keys, keys->key_count, source,
                              rate_scale_of(keys, push, &origin), push->clock, error);
    if (status == STATUS_OK && sum) {
        gradient_ages_hold(&keys->table->ages, &origin, push->clock);
    } else if (status == STATUS_OK) {
        gradient_ages_applied(&keys->table->ages, &origin, shard->now_ns);
    }
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

/* A repeat will be known. */
static void done(struct shard *shard, const struct shard_request *request)
{
    push_window_add(&request->session->window, request->envelope->sequence);
    shard_log_session(shard, request->session);
}

/* *repeated: the request was done before. */
static enum status check_sequence(struct shard *shard, const struct shard_request *request,
                                  const char *what, bool *repeated, struct error *error)
{
    uint64_t sequence = request->envelope->sequence;
    if (sequence == 0) return error_set(error, STATUS_INVALID, "%s without a sequence", what);
    *repeated = push_window_contains(&request->session->window, sequence);
    shard->repeated_pushes += *repeated;
    return STATUS_OK;
}

static enum status check_push(struct shard *shard, const struct shard_request *request,
                              struct keys_request *keys, struct row_source *source,
                              struct error *error)
{
    const Anthill__Push *push = request->envelope->push;
    enum status status = shard_keys_check(shard, request, push->table, push->block, 2, keys, error);
    if (status == STATUS_OK && push->block == 0) {
        status = shard_keys_frame(request, keys, keys->value_bytes, "gradients", error);
    }
    if (status != STATUS_OK) return status;
    if (!isfinite(push->rate_scale) || push->rate_scale < 0 || push->clock == UINT64_MAX) {
        return error_set(error, STATUS_INVALID, "Push of \"%s\": rate_scale %g at clock %" PRIu64,
                         keys->name, (double)push->rate_scale, push->clock);
    }
    *source = (struct row_source){.rows = push->block != 0 ? keys->part.rows
                                                           : request->message->payload[1].data,
                                  .positions = keys->part.positions,
                                  .encoding = push->encoding};
    return STATUS_OK;
}

enum status shard_push(struct shard *shard, const struct shard_request *request,
                       struct error *error)
{
    const Anthill__Push *push = request->envelope->push;
    bool repeated = false;
    enum status status = check_sequence(shard, request, "Push", &repeated, error);
    if (status != STATUS_OK) return status;
    if (repeated) {
        reply_push(request, true);
        return STATUS_OK;
    }
    struct keys_request keys = {
        .what = "Push", .key_count = push->key_count, .encoding = push->encoding};
    struct row_source source;
    status = check_push(shard, request, &keys, &source, error);
    if (status != STATUS_OK) return status;
    bool block = push->block != 0;
    if (block && (keys.part.phase != BLOCK_PENDING || !shard_memory_take(&keys.part))) {
        if (keys.part.phase == BLOCK_DONE) reply_push(request, true);
        return STATUS_OK;
    }
    status = take_push(shard, request, &keys, &source, error);
    if (block) shard_memory_leave(&keys.part, status == STATUS_OK);
    if (status != STATUS_OK) return status;
    done(shard, request);
    shard->pushes++;
    shard->pushed_rows += keys.key_count;
    reply_push(request, false);
    return STATUS_OK;
}

/* ---- Advance -------------------------------------------------------------------------------- */

enum status shard_advance(struct shard *shard, const struct shard_request *request,
                          struct error *error)
{
    const Anthill__Advance *advance = request->envelope->advance;
    uint64_t session = request->envelope->session, sequence = request->envelope->sequence;
    if (sequence == 0) return error_set(error, STATUS_INVALID, "Advance without a sequence");
    bool repeated = push_window_contains(&request->session->window, sequence);
    if (!repeated && advance->leave) {
        staleness_leave(&shard->staleness, session);
        shard_log_leave(shard, session);
    } else if (!repeated) {
        enum status status = staleness_advance(&shard->staleness, session, advance->clock);
        if (status != STATUS_OK) {
            return error_set(error, status, "no memory for the clock of session %" PRIu64, session);
        }
        shard_log_clock(shard, session);
    }
    if (!repeated) done(shard, request);
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

/* ---- rows as such --------------------------------------------------------------------------- */

enum status shard_assign(struct shard *shard, const struct shard_request *request,
                         struct error *error)
{
    const Anthill__Assign *assign = request->envelope->assign;
    struct keys_request keys = {.what = "Assign", .key_count = assign->key_count};
    bool repeated = false;
    enum status status = check_sequence(shard, request, keys.what, &repeated, error);
    if (status == STATUS_OK && !repeated) {
        status = shard_keys_table(shard, assign->table, true, &keys, error);
        if (status == STATUS_OK)
            status = shard_keys_check(shard, request, assign->table, 0, 2, &keys, error);
        if (status == STATUS_OK)
            status = shard_keys_frame(request, &keys, keys.value_bytes, "values", error);
        if (status == STATUS_OK)
            status = table_assign(keys.table->table, keys.keys, keys.key_count,
                                  request->message->payload[1].data, error);
    }
    if (status != STATUS_OK) return status;
    if (!repeated) done(shard, request);
    Anthill__AssignReply body = ANTHILL__ASSIGN_REPLY__INIT;
    Anthill__Envelope reply = ANTHILL__ENVELOPE__INIT;
    reply.body_case = ANTHILL__ENVELOPE__BODY_ASSIGN_REPLY;
    reply.assign_reply = &body;
    shard_reply(request, &reply, NULL, 0);
    return STATUS_OK;
}

enum status shard_delete(struct shard *shard, const struct shard_request *request,
                         struct error *error)
{
    const Anthill__Delete *delete = request->envelope->delete_;
    struct keys_request keys = {.what = "Delete", .key_count = delete->key_count};
    Anthill__DeleteReply body = ANTHILL__DELETE_REPLY__INIT;
    bool repeated = false;
    enum status status = check_sequence(shard, request, keys.what, &repeated, error);
    if (status == STATUS_OK && !repeated) {
        status = shard_keys_table(shard, delete->table, true, &keys, error);
        if (status == STATUS_OK)
            status = shard_keys_check(shard, request, delete->table, 0, 1, &keys, error);
        if (status == STATUS_OK)
            body.deleted = table_delete(keys.table->table, keys.keys, keys.key_count);
    }
    if (status != STATUS_OK) return status;
    if (!repeated) done(shard, request);
    Anthill__Envelope reply = ANTHILL__ENVELOPE__INIT;
    reply.body_case = ANTHILL__ENVELOPE__BODY_DELETE_REPLY;
    reply.delete_reply = &body;
    shard_reply(request, &reply, NULL, 0);
    return STATUS_OK;
}

enum status shard_scan(struct shard *shard, const struct shard_request *request,
                       struct error *error)
{
    const Anthill__Scan *scan = request->envelope->scan;
    struct keys_request keys = {.what = "Scan"};
    enum status status = shard_keys_table(shard, scan->table, true, &keys, error);
    if (status != STATUS_OK) return status;
    if (scan->keys_max < SCAN_KEYS_MIN || scan->keys_max > SCAN_KEYS_MAX) {
        return error_set(error, STATUS_INVALID, "Scan of \"%s\": keys_max %u; %u to %u expected",
                         keys.name, scan->keys_max, SCAN_KEYS_MIN, SCAN_KEYS_MAX);
    }
    struct frame listed = frame_create(scan->keys_max * sizeof(uint64_t));
    if (listed.data == NULL) {
        return error_set(error, STATUS_NOMEM, "Scan of \"%s\": no memory for %u keys", keys.name,
                         scan->keys_max);
    }
    uint32_t count = 0;
    Anthill__ScanReply body = ANTHILL__SCAN_REPLY__INIT;
    body.cursor = table_scan(keys.table->table, scan->cursor, listed.data, scan->keys_max, &count);
    listed.bytes = count * sizeof(uint64_t);
    Anthill__Envelope reply = ANTHILL__ENVELOPE__INIT;
    reply.body_case = ANTHILL__ENVELOPE__BODY_SCAN_REPLY;
    reply.scan_reply = &body;
    shard_reply(request, &reply, &listed, 1);
    return STATUS_OK;
}

/* ---- progress ------------------------------------------------------------------------------- */

static void apply_sums(struct shard *shard)
{
    bool training = shard->staleness.count > 0;
    uint64_t clock = training ? shard->staleness.clock_min : UINT64_MAX;
    for (uint32_t i = 0; i < shard->table_count; i++) {
        struct shard_table *table = &shard->tables[i];
        uint32_t open = table->sums.count;
        if (!gradient_sums_due(&table->sums, clock)) continue;
        shard_log_sums_applied(shard, table, clock);
        shard->refused += gradient_sums_apply(&table->sums, table->table, clock);
        gradient_ages_release(&table->ages, clock, open - table->sums.count, shard->now_ns);
    }
}

void shard_progress(struct shard *shard, struct outbox *outbox)
{
    apply_sums(shard);
    shard_answer_waiting(shard, outbox);
}
