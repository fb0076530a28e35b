/* What a shard changes, as messages for the thread that keeps its copy. Changes are appended while
 * a request is handled; change_log_close makes messages of them, which stay until they are
 * acknowledged, and may be sent any number of times. Rows are sent as they are afterwards, not as
 * the operation that made them so: a copy is the same to the bit whatever the optimizer, the
 * processor and the table's limits. Does not know shards or sessions. Pure. */
#ifndef ANTHILL_PS_CHANGE_LOG_H
#define ANTHILL_PS_CHANGE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "common/wire.h"
#include "ps/table.h"

/* One Replicate message. */
struct shipment {
    struct frame header; /* packed */
    struct frame keys, floats;
    uint64_t bytes;
};

/* Zero-initialised is empty; nothing may be appended before change_log_begin. */
struct change_log {
    uint32_t shard; /* index in the slot map */
    uint64_t primary_incarnation, map_version, stream;
    struct shipment *shipments; /* a ring: [first_index, next_index) are not acknowledged */
    uint32_t capacity;
    uint64_t first_index, next_index;
    uint64_t bytes; /* of them */
    /* The message that is being made. */
    Anthill__Change *changes;
    Anthill__Change **pointers;
    uint32_t change_count, change_capacity;
    struct frame keys, floats; /* of some size; so much of them is filled: */
    uint32_t key_count;
    uint64_t float_count;
    size_t spec_bytes;                          /* of the tables in it */
    bool grouped;                               /* messages of this group are there already */
    uint64_t continues_stream, continues_index; /* for the message of index 1 */
};

/* Forgets everything and begins stream `stream`. */
void change_log_begin(struct change_log *log, uint64_t stream);
void change_log_deinit(struct change_log *log);

/* A change without keys; `spec` is borrowed until change_log_close. */
void change_log_put(struct change_log *log, const Anthill__Change *change);
/* What happened to rows of table number `table`. */
void change_log_rows(struct change_log *log, uint32_t table, const struct table *rows,
                     const struct row_events *events);
/* `change` without key_count, for one more key with its floats. */
void change_log_key(struct change_log *log, const Anthill__Change *change, uint64_t key,
                    const float_unaligned *values, uint32_t floats);

/* Everything since the last call is one change, taken by the other side whole or not at all.
 * Returns the index of the last message there is; without changes none is made, except the first.
 */
uint64_t change_log_close(struct change_log *log);

/* Messages up to `index` have arrived. */
void change_log_acknowledge(struct change_log *log, uint64_t index);

/* Message `index`, which is there, once more. errors   STATUS_NOMEM */
enum status change_log_message(const struct change_log *log, uint64_t index,
                               struct message *message) MUST_CHECK;

#endif
