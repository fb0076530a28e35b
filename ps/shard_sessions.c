/* Sessions as bytes for a checkpoint: push windows, and the gradients that bsp has acknowledged and
 * not yet applied. Clocks are not in it: trainers enter again by their next Advance. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "ps/shard_state.h"
#include "ps/table_spec.h"

#define SESSIONS_MAGIC UINT64_C(0x3253455353544e41) /* "ANTSSES2" */

/* Writes when `data` is there, else counts. */
struct writer {
    uint8_t *data;
    size_t bytes;
};

static void put(struct writer *writer, const void *item, size_t bytes)
{
    if (writer->data != NULL) memcpy(writer->data + writer->bytes, item, bytes);
    writer->bytes += bytes;
}

static void put_u64(struct writer *writer, uint64_t value)
{
    put(writer, &value, sizeof value);
}

static void put_clock(struct writer *writer, uint32_t table, const struct clock_sums *clock)
{
    uint64_t used = 0;
    for (uint32_t i = 0; i < clock->count; i++)
        used += clock->sums[i].used;
    put_u64(writer, table);
    put_u64(writer, clock->clock);
    put(writer, &clock->rate_scale, sizeof clock->rate_scale);
    put_u64(writer, used);
    for (uint32_t i = 0; i < clock->count; i++) {
        const struct gradient_sum *sum = &clock->sums[i];
        if (!sum->used) continue;
        put_u64(writer, sum->key);
        put(writer, sum->sum, sum->floats * sizeof *sum->sum);
    }
}

static void put_all(struct writer *writer, const struct shard *shard)
{
    put_u64(writer, SESSIONS_MAGIC);
    put_u64(writer, shard->sessions.expired_highest);
    put_u64(writer, shard->sessions.count);
    for (uint32_t i = 0; i < shard->sessions.count; i++) {
        const struct session *session = &shard->sessions.items[i];
        put_u64(writer, session->id);
        put_u64(writer, session->window.highest);
        put_u64(writer, session->window.bits);
    }
    uint64_t clocks = 0;
    for (uint32_t i = 0; i < shard->table_count; i++)
        clocks += shard->tables[i].sums.count;
    put_u64(writer, clocks);
    for (uint32_t i = 0; i < shard->table_count; i++) {
        const struct gradient_sums *sums = &shard->tables[i].sums;
        for (uint32_t c = 0; c < sums->count; c++)
            put_clock(writer, i, &sums->clocks[c]);
    }
}

enum status shard_sessions_save(const struct shard *shard, void **data, size_t *bytes)
{
    struct writer writer = {0};
    put_all(&writer, shard);
    *bytes = writer.bytes;
    *data = malloc(writer.bytes);
    if (*data == NULL) return STATUS_NOMEM;
    writer = (struct writer){.data = *data};
    put_all(&writer, shard);
    CHECK(writer.bytes == *bytes);
    return STATUS_OK;
}

struct reader {
    const uint8_t *data;
    size_t left;
};

/* NULL when fewer bytes are left. */
static const void *get(struct reader *reader, uint64_t bytes)
{
    if (bytes > reader->left) return NULL;
    const void *item = reader->data;
    reader->data += bytes;
    reader->left -= bytes;
    return item;
}

static bool get_u64(struct reader *reader, uint64_t *value)
{
    const void *item = get(reader, sizeof *value);
    if (item != NULL) memcpy(value, item, sizeof *value);
    return item != NULL;
}

static enum status load_sessions(struct shard *shard, struct reader *reader)
{
    uint64_t magic = 0, count = 0;
    if (!get_u64(reader, &magic) || magic != SESSIONS_MAGIC) return STATUS_CORRUPT;
    if (!get_u64(reader, &shard->sessions.expired_highest)) return STATUS_CORRUPT;
    if (!get_u64(reader, &count) || count > SESSIONS_MAX) return STATUS_CORRUPT;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t id = 0;
        struct push_window window;
        if (!get_u64(reader, &id) || !get_u64(reader, &window.highest) ||
            !get_u64(reader, &window.bits)) {
            return STATUS_CORRUPT;
        }
        struct session *session = NULL;
        enum status status = session_set_add(&shard->sessions, id, &session);
        if (status != STATUS_OK) return status;
        session->window = window;
    }
    return STATUS_OK;
}

/* Nobody trains after a restart, so what was summed is applied at once. */
static enum status load_sum(struct table *table, struct reader *reader, float rate_scale,
                            uint64_t clock)
{
    uint64_t key = 0;
    if (!get_u64(reader, &key)) return STATUS_CORRUPT;
    uint32_t floats = table_spec_row_floats(table_spec(table), key);
    const float_unaligned *sum = get(reader, floats * sizeof(float));
    if (floats == 0 || sum == NULL) return STATUS_CORRUPT;
    const struct row_source source = {.rows = sum};
    enum status status = table_push_from(table, &key, 1, &source, rate_scale, clock, NULL);
    /* A sum that overflowed is dropped, as it would have been without the restart. */
    return status == STATUS_INVALID ? STATUS_OK : status;
}

static enum status load_clock(struct shard *shard, struct reader *reader)
{
    uint64_t table = 0, clock = 0, count = 0;
    float rate_scale = 0;
    if (!get_u64(reader, &table) || table >= shard->table_count || !get_u64(reader, &clock)) {
        return STATUS_CORRUPT;
    }
    const void *scale = get(reader, sizeof rate_scale);
    if (scale == NULL || !get_u64(reader, &count)) return STATUS_CORRUPT;
    memcpy(&rate_scale, scale, sizeof rate_scale);
    enum status status = STATUS_OK;
    for (uint64_t i = 0; status == STATUS_OK && i < count; i++)
        status = load_sum(shard->tables[table].table, reader, rate_scale, clock);
    return status;
}

enum status shard_sessions_load(struct shard *shard, const void *data, size_t bytes,
                                struct error *error)
{
    struct reader reader = {.data = data, .left = bytes};
    uint64_t clocks = 0;
    enum status status = load_sessions(shard, &reader);
    if (status == STATUS_OK && !get_u64(&reader, &clocks)) status = STATUS_CORRUPT;
    for (uint64_t i = 0; status == STATUS_OK && i < clocks; i++)
        status = load_clock(shard, &reader);
    if (status == STATUS_OK && reader.left != 0) status = STATUS_CORRUPT;
    if (status == STATUS_OK) return status;
    return error_set(error, status, "sessions: %s at byte %zu of %zu", status_name(status),
                     bytes - reader.left, bytes);
}
