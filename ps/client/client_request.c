#include "ps/client/client_request.h"

#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "ps/table_spec.h"

/* Of keys and values in a part: large enough to be cheap, small enough that the table's work on one
 * overlaps the socket's on the next. */
#define PART_BYTES_MAX (1u << 20)

void table_layout_init(struct table_layout *layout, const Anthill__TableSpec *spec)
{
    *layout = (struct table_layout){0};
    if (spec->kind == ANTHILL__TABLE_KIND__TABLE_SPARSE) {
        layout->dim = spec->dim;
        return;
    }
    uint32_t count = layout->chunk_count = table_spec_chunks(spec);
    layout->keys = malloc((count + 1) * sizeof *layout->keys);
    layout->offsets = malloc((count + 1) * sizeof *layout->offsets);
    CHECK(layout->keys != NULL && layout->offsets != NULL);
    table_spec_chunk_keys(spec, layout->keys);
    layout->offsets[0] = 0;
    for (uint32_t i = 0; i < count; i++) {
        layout->offsets[i + 1] = layout->offsets[i] + table_spec_row_floats(spec, layout->keys[i]);
    }
}

void table_layout_deinit(struct table_layout *layout)
{
    free(layout->keys);
    free(layout->offsets);
}

static uint64_t row_offset(const struct table_layout *layout, uint32_t position)
{
    return layout->dim != 0 ? (uint64_t)position * layout->dim : layout->offsets[position];
}

static uint64_t row_floats(const struct table_layout *layout, uint32_t position)
{
    return layout->dim != 0 ? layout->dim
                            : layout->offsets[position + 1] - layout->offsets[position];
}

/* Rows from `begin` on that make up one part, at least one. */
static uint32_t part_rows(const struct table_layout *layout, const uint32_t *positions,
                          uint32_t begin, uint32_t end, uint64_t *floats)
{
    uint64_t bytes = 0;
    uint32_t row = begin;
    *floats = 0;
    for (; row < end; row++) {
        uint64_t more = row_floats(layout, positions != NULL ? positions[row] : row);
        bytes += more * sizeof(float) + sizeof(uint64_t);
        if (row > begin && bytes > PART_BYTES_MAX) break;
        *floats += more;
    }
    return row - begin;
}

static void gather(const struct table_layout *layout, const struct part *part, const uint64_t *keys,
                   const float *grads)
{
    uint64_t *part_keys = part_buffer_keys(part->buffer);
    float *part_grads = part_buffer_grads(part->buffer);
    if (part->positions == NULL) {
        memcpy(part_keys, keys + part->first, part->key_count * sizeof *keys);
        if (grads != NULL) {
            memcpy(part_grads, grads + row_offset(layout, part->first),
                   part->float_count * sizeof *grads);
        }
        return;
    }
    for (uint32_t i = 0; i < part->key_count; i++) {
        uint32_t position = part->positions[i];
        part_keys[i] = keys[position];
        if (grads == NULL) continue;
        uint64_t floats = row_floats(layout, position);
        memcpy(part_grads, grads + row_offset(layout, position), floats * sizeof *grads);
        part_grads += floats;
    }
}

/* The parts of rows [begin, end) of one link, or of all rows when positions is NULL, chained by
 * `next`. */
static bool make_parts(struct request *request, struct part_pool *pool, const struct part *model,
                       uint32_t link, uint32_t begin, uint32_t end, const uint64_t *keys,
                       const float *grads, struct part_list *made)
{
    while (begin < end) {
        uint64_t floats;
        uint32_t rows = part_rows(request->layout, request->positions, begin, end, &floats);
        struct part_buffer *buffer = part_buffer_create(rows, grads != NULL ? floats : 0);
        if (buffer == NULL) return false;
        struct part *part = part_pool_take(pool);
        uint64_t id = part->id;
        *part = *model;
        part->id = id;
        part->link = link;
        part->request = request;
        part->buffer = buffer;
        part->key_count = rows;
        part->float_count = floats;
        part->positions = request->positions != NULL ? request->positions + begin : NULL;
        part->first = begin;
        gather(request->layout, part, keys, grads);
        part_list_append(made, part);
        begin += rows;
    }
    return true;
}

/* Sorts the rows by the link that owns them: fills cut->starts and request->positions. */
static bool sort_by_link(struct request *request, struct request_cut *cut, const uint64_t *keys,
                         uint32_t key_count)
{
    if (cut->shard_of_capacity < key_count) {
        free(cut->shard_of);
        cut->shard_of = malloc(key_count * sizeof *cut->shard_of);
        cut->shard_of_capacity = cut->shard_of != NULL ? key_count : 0;
    }
    request->positions = malloc(key_count * sizeof *request->positions);
    if (cut->shard_of == NULL || request->positions == NULL) return false;
    uint32_t *starts = cut->starts;
    memset(starts, 0, (cut->link_count + 1) * sizeof *starts);
    for (uint32_t i = 0; i < key_count; i++) {
        cut->shard_of[i] = cut->owners[slot_of(keys[i], cut->slot_count)];
        starts[cut->shard_of[i] + 1]++;
    }
    for (uint32_t link = 0; link < cut->link_count; link++) {
        starts[link + 1] += starts[link];
    }
    for (uint32_t i = 0; i < key_count; i++) {
        request->positions[starts[cut->shard_of[i]]++] = i;
    }
    memmove(starts + 1, starts, cut->link_count * sizeof *starts);
    starts[0] = 0;
    return true;
}

enum status request_cut(struct request *request, struct request_cut *cut, struct part_pool *pool,
                        const struct part *model, const uint64_t *keys, uint32_t key_count,
                        const float *grads, struct error *error)
{
    struct part_list made = {0};
    bool enough = true;
    if (cut->link_count == 1) {
        enough = make_parts(request, pool, model, 0, 0, key_count, keys, grads, &made);
    } else if (key_count > 0) {
        enough = sort_by_link(request, cut, keys, key_count);
        for (uint32_t link = 0; enough && link < cut->link_count; link++) {
            enough = make_parts(request, pool, model, link, cut->starts[link],
                                cut->starts[link + 1], keys, grads, &made);
        }
    }
    request->parts_left = made.count;
    for (struct part *part; (part = made.head) != NULL;) {
        part_list_remove(&made, part);
        if (enough) {
            client_link_add(&cut->links[part->link], part);
        } else {
            part_pool_give(pool, part);
        }
    }
    if (enough) return STATUS_OK;
    return error_set(error, STATUS_NOMEM, "no memory for a request of %u keys", key_count);
}

enum status request_put_rows(struct request *request, const struct part *part,
                             const struct message *message, struct error *error)
{
    const struct frame *values = &message->payload[0];
    size_t expected = part->float_count * sizeof(float);
    if (message->payload_count != 1 || values->bytes != expected) {
        return error_set(error, STATUS_CORRUPT,
                         "answer of %u payload frames, the first of %zu bytes; one of %zu expected",
                         message->payload_count, message->payload_count > 0 ? values->bytes : 0,
                         expected);
    }
    const struct table_layout *layout = request->layout;
    const unsigned char *from = values->data;
    if (part->positions == NULL) {
        memcpy(request->rows + row_offset(layout, part->first), from, expected);
        return STATUS_OK;
    }
    for (uint32_t i = 0; i < part->key_count; i++) {
        uint32_t position = part->positions[i];
        size_t bytes = row_floats(layout, position) * sizeof(float);
        memcpy(request->rows + row_offset(layout, position), from, bytes);
        from += bytes;
    }
    return STATUS_OK;
}
