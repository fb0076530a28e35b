#include "ps/change_log.h"

#include <stdlib.h>
#include <string.h>

#include "common/check.h"

/* A message has no more than these. Rows are added whole, so that floats may be exceeded by one. */
#define KEYS_MAX    65536u
#define FLOATS_MAX  (UINT64_C(1) << 20)
#define CHANGES_MAX 2048u
#define SPECS_BYTES_MAX                                                                            \
    (WIRE_HEADER_BYTES_MAX / 2) /* of tables; CHANGES_MAX other changes have room beside them */

#define KEYS_MIN   64u
#define FLOATS_MIN 1024u
#define ROWS_AHEAD 8u

static void shipment_release(struct shipment *shipment)
{
    frame_release(&shipment->header);
    frame_release(&shipment->keys);
    frame_release(&shipment->floats);
}

static struct shipment *shipment_at(const struct change_log *log, uint64_t index)
{
    return &log->shipments[index & (log->capacity - 1)];
}

void change_log_acknowledge(struct change_log *log, uint64_t index)
{
    for (; log->first_index <= index && log->first_index < log->next_index; log->first_index++) {
        struct shipment *shipment = shipment_at(log, log->first_index);
        log->bytes -= shipment->bytes;
        shipment_release(shipment);
    }
}

static void drop_message(struct change_log *log)
{
    frame_release(&log->keys);
    frame_release(&log->floats);
    log->change_count = log->key_count = 0;
    log->spec_bytes = 0;
    log->float_count = 0;
}

void change_log_begin(struct change_log *log, uint64_t stream)
{
    change_log_acknowledge(log, UINT64_MAX);
    drop_message(log);
    log->grouped = false;
    log->stream = stream;
    log->first_index = log->next_index = 1;
    log->continues_stream = log->continues_index = 0;
}

void change_log_deinit(struct change_log *log)
{
    change_log_acknowledge(log, UINT64_MAX);
    drop_message(log);
    free(log->shipments);
    free(log->changes);
    free(log->pointers);
    *log = (struct change_log){0};
}

static struct shipment *shipment_add(struct change_log *log)
{
    uint64_t count = log->next_index - log->first_index;
    if (count == log->capacity) {
        uint32_t capacity = log->capacity == 0 ? 64 : log->capacity * 2;
        struct shipment *shipments = calloc(capacity, sizeof *shipments);
        CHECK(shipments != NULL);
        for (uint64_t i = log->first_index; i < log->next_index; i++)
            shipments[i & (capacity - 1)] = *shipment_at(log, i);
        free(log->shipments);
        log->shipments = shipments;
        log->capacity = capacity;
    }
    struct shipment *shipment = shipment_at(log, log->next_index++);
    *shipment = (struct shipment){0};
    return shipment;
}

/* Makes a message of what was appended. */
static void ship(struct change_log *log, bool more)
{
    Anthill__Replicate body = ANTHILL__REPLICATE__INIT;
    body.primary_incarnation = log->primary_incarnation;
    body.stream = log->stream;
    body.index = log->next_index;
    body.more = more;
    body.n_changes = log->change_count;
    body.changes = log->pointers;
    if (body.index == 1) {
        body.continues_stream = log->continues_stream;
        body.continues_index = log->continues_index;
    }
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.request = body.index;
    envelope.shard = log->shard + 1;
    envelope.map_version = log->map_version;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_REPLICATE;
    envelope.replicate = &body;
    for (uint32_t i = 0; i < log->change_count; i++)
        log->pointers[i] = &log->changes[i];
    struct message message;
    enum status status = wire_pack(&message, 0, &envelope, NULL, 0);
    CHECK(status == STATUS_OK);
    struct shipment *shipment = shipment_add(log);
    log->keys.bytes = log->key_count * sizeof(uint64_t);
    log->floats.bytes = log->float_count * sizeof(float);
    *shipment =
        (struct shipment){.header = message.header, .keys = log->keys, .floats = log->floats};
    shipment->bytes = message.header.bytes + log->keys.bytes + log->floats.bytes;
    log->bytes += shipment->bytes;
    log->keys = log->floats = (struct frame){0};
    drop_message(log);
    log->grouped = more;
}

uint64_t change_log_close(struct change_log *log)
{
    if (log->change_count > 0 || log->grouped || log->next_index == 1) ship(log, false);
    return log->next_index - 1;
}

static Anthill__Change *add_change(struct change_log *log, const Anthill__Change *change)
{
    size_t bytes = change->spec != NULL ? anthill__table_spec__get_packed_size(change->spec) : 0;
    bool too_long = log->change_count > 0 && log->spec_bytes + bytes > SPECS_BYTES_MAX;
    if (log->change_count == CHANGES_MAX || too_long) ship(log, true);
    log->spec_bytes += bytes;
    if (log->change_count == log->change_capacity) {
        uint32_t capacity = log->change_capacity == 0 ? 16 : log->change_capacity * 2;
        log->changes = realloc(log->changes, capacity * sizeof *log->changes);
        log->pointers = realloc(log->pointers, capacity * sizeof(void *));
        CHECK(log->changes != NULL && log->pointers != NULL);
        log->change_capacity = capacity;
    }
    Anthill__Change *added = &log->changes[log->change_count++];
    *added = *change;
    return added;
}

void change_log_put(struct change_log *log, const Anthill__Change *change)
{
    add_change(log, change);
}

/* Room for `more` bytes behind the `used` ones. */
static void reserve(struct frame *frame, size_t used, size_t more, size_t least)
{
    if (frame->bytes >= used + more) return;
    size_t bytes = frame->bytes * 2 > used + more ? frame->bytes * 2 : used + more;
    struct frame larger = frame_create_shared(bytes < least ? least : bytes);
    CHECK(larger.data != NULL);
    if (used > 0) memcpy(larger.data, frame->data, used);
    frame_release(frame);
    *frame = larger;
}

/* Room for so many keys and floats, or as many as a message has. */
static void expect(struct change_log *log, uint64_t keys, uint64_t floats)
{
    if (keys > KEYS_MAX - log->key_count) keys = KEYS_MAX - log->key_count;
    uint64_t left = log->float_count < FLOATS_MAX ? FLOATS_MAX - log->float_count : 0;
    if (floats > left) floats = left;
    reserve(&log->keys, log->key_count * sizeof(uint64_t), keys * sizeof(uint64_t), 0);
    reserve(&log->floats, log->float_count * sizeof(float), floats * sizeof(float), 0);
}

static bool continues(const struct change_log *log, const Anthill__Change *change)
{
    if (log->change_count == 0) return false;
    const Anthill__Change *last = &log->changes[log->change_count - 1];
    return last->kind == change->kind && last->table == change->table &&
           last->clock == change->clock && last->rate_scale == change->rate_scale &&
           last->key_count > 0;
}

/* Appends a key; returns where its floats go. */
static float *add_key(struct change_log *log, const Anthill__Change *change, uint64_t key,
                      uint32_t floats)
{
    if (log->key_count == KEYS_MAX || log->float_count >= FLOATS_MAX) ship(log, true);
    if (!continues(log, change)) add_change(log, change)->key_count = 0;
    log->changes[log->change_count - 1].key_count++;
    reserve(&log->keys, log->key_count * sizeof key, sizeof key, KEYS_MIN * sizeof key);
    reserve(&log->floats, log->float_count * sizeof(float), floats * sizeof(float),
            floats > 0 ? FLOATS_MIN * sizeof(float) : 0);
    ((uint64_t *)log->keys.data)[log->key_count++] = key;
    float *place = log->floats.data == NULL ? NULL : (float *)log->floats.data + log->float_count;
    log->float_count += floats;
    return place;
}

void change_log_key(struct change_log *log, const Anthill__Change *change, uint64_t key,
                    const float_unaligned *values, uint32_t floats)
{
    float *place = add_key(log, change, key, floats);
    if (floats > 0) memcpy(place, values, floats * sizeof *place);
}

void change_log_rows(struct change_log *log, uint32_t table, const struct table *rows,
                     const struct row_events *events)
{
    static const Anthill__ChangeKind kinds[] = {
        [ROW_CREATED] = ANTHILL__CHANGE_KIND__CHANGE_CREATED,
        [ROW_CHANGED] = ANTHILL__CHANGE_KIND__CHANGE_ROWS,
        [ROW_REMOVED] = ANTHILL__CHANGE_KIND__CHANGE_REMOVED,
    };
    Anthill__Change change = ANTHILL__CHANGE__INIT;
    change.table = table;
    if (events->count > 0) {
        uint64_t floats = table_stored_floats(rows, events->items[0].key);
        expect(log, events->count,
               events->items[0].kind == ROW_CHANGED ? floats * events->count : 0);
    }
    for (uint32_t i = 0; i < events->count; i++) {
        const struct row_event *event = &events->items[i];
        if (i + ROWS_AHEAD < events->count) __builtin_prefetch(event[ROWS_AHEAD].row);
        change.kind = kinds[event->kind];
        uint32_t floats = event->kind == ROW_CHANGED ? table_stored_floats(rows, event->key) : 0;
        float *place = add_key(log, &change, event->key, floats);
        if (floats > 0) table_event_stored(rows, event, place);
    }
}

enum status change_log_message(const struct change_log *log, uint64_t index,
                               struct message *message)
{
    CHECK(index >= log->first_index && index < log->next_index);
    const struct shipment *shipment = shipment_at(log, index);
    *message = (struct message){.header = frame_create(shipment->header.bytes)};
    if (message->header.data == NULL) return STATUS_NOMEM;
    memcpy(message->header.data, shipment->header.data, shipment->header.bytes);
    if (shipment->keys.bytes == 0) return STATUS_OK;
    message->payload[message->payload_count++] = frame_share(&shipment->keys);
    if (shipment->floats.bytes == 0) return STATUS_OK;
    message->payload[message->payload_count++] = frame_share(&shipment->floats);
    return STATUS_OK;
}
