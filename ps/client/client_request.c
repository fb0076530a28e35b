#include "ps/client/client_request.h"

#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "ps/row_codec.h"
#include "ps/table_spec.h"

/* Of keys and values in a part: large enough to be cheap, small enough that the table's work on one
 * overlaps the socket's on the next. */
#define PART_BYTES_MAX (1u << 20)

/* The same of a block, which costs a message and no copy. */
#define BLOCK_BYTES_MAX (5u << 20)
#define BLOCK_KEYS_MAX  16384u

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

void request_deinit(struct request *request, struct client_blocks *blocks)
{
    if (request->shares) {
        region_free(&blocks->region, request->lists);
    } else {
        free(request->lists);
    }
}

static uint64_t row_offset(const struct table_layout *layout, uint32_t position)
{
    return layout->dim != 0 ? (uint64_t)position * layout->dim : layout->offsets[position];
}

static uint32_t row_floats(const struct table_layout *layout, uint32_t position)
{
    if (layout->dim != 0) return layout->dim;
    return (uint32_t)(layout->offsets[position + 1] - layout->offsets[position]);
}

/* Rows from `begin` on that make up one part, at least one. */
static uint32_t part_rows(const struct request *request, uint32_t begin, uint32_t end, bool block,
                          size_t *value_bytes)
{
    const struct table_layout *layout = request->layout;
    size_t bytes = 0, bytes_max = block ? BLOCK_BYTES_MAX : PART_BYTES_MAX;
    uint32_t row = begin;
    if (layout->dim != 0) {
        size_t row_bytes = row_codec_bytes(request->encoding, layout->dim);
        size_t rows = bytes_max / (row_bytes + sizeof(uint64_t));
        if (rows == 0) rows = 1;
        if (block && rows > BLOCK_KEYS_MAX) rows = BLOCK_KEYS_MAX;
        if (rows > end - begin) rows = end - begin;
        *value_bytes = rows * row_bytes;
        return (uint32_t)rows;
    }
    *value_bytes = 0;
    for (; row < end; row++) {
        uint32_t position = request->positions != NULL ? request->positions[row] : row;
        size_t more = row_codec_bytes(request->encoding, row_floats(layout, position));
        bytes += more + sizeof(uint64_t);
        if (row > begin && bytes > bytes_max) break;
        *value_bytes += more;
    }
    return row - begin;
}

static void gather_versions(const struct request *request, const struct part *part,
                            const uint64_t *keys)
{
    uint32_t *versions = part_buffer_values(part->buffer);
    for (uint32_t i = 0; i < part->key_count; i++) {
        uint32_t position = part->positions != NULL ? part->positions[i] : part->first + i;
        part_buffer_keys(part->buffer)[i] = keys[position];
        versions[i] = request->versions[position];
    }
}

static void gather(const struct request *request, const struct part *part, const uint64_t *keys)
{
    const struct table_layout *layout = request->layout;
    uint64_t *part_keys = part_buffer_keys(part->buffer);
    unsigned char *values = part_buffer_values(part->buffer);
    if (part->positions == NULL && request->encoding == ANTHILL__ENCODING__ENCODING_F32) {
        memcpy(part_keys, keys + part->first, part->key_count * sizeof *keys);
        if (request->grads == NULL) return;
        memcpy(values, request->grads + row_offset(layout, part->first), part->value_bytes);
        return;
    }
    for (uint32_t i = 0; i < part->key_count; i++) {
        uint32_t position = part->positions != NULL ? part->positions[i] : part->first + i;
        part_keys[i] = keys[position];
        if (request->grads == NULL) continue;
        uint32_t floats = row_floats(layout, position);
        row_codec_encode(request->encoding, request->grads + row_offset(layout, position), values,
                         floats);
        values += row_codec_bytes(request->encoding, floats);
    }
}

/* Offers the part's rows, which begin at row `begin` of the request's order, in a block. */
static bool put_in_block(const struct request *request, struct request_cut *cut, struct part *part,
                         uint32_t begin, const uint64_t *keys)
{
    const float *rows = request->kind == PART_PUSH ? request->grads : request->rows;
    uint64_t *copied = request->keys + begin;
    if (part->positions == NULL) {
        memcpy(copied, keys + begin, part->key_count * sizeof *copied);
        rows += row_offset(request->layout, begin);
    }
    for (uint32_t i = 0; part->positions != NULL && i < part->key_count; i++)
        copied[i] = keys[part->positions[i]];
    return client_blocks_offer(cut->blocks, part, copied, part->positions, rows);
}

/* The parts of rows [begin, end) of one link, or of all rows when positions is NULL, chained by
 * `next`. */
static bool make_parts(struct request *request, struct request_cut *cut, struct part_pool *pool,
                       const struct part *model, uint32_t link, uint32_t begin, uint32_t end,
                       const uint64_t *keys, struct part_list *made)
{
    bool block = request->shares && cut->links[link].memory_mapped, first = true;
    while (begin < end) {
        size_t value_bytes;
        uint32_t rows = part_rows(request, begin, end, block, &value_bytes);
        struct part *part = part_pool_take(pool);
        uint64_t id = part->id;
        *part = *model;
        part->id = id;
        part->link = link;
        part->request = request;
        part->key_count = rows;
        part->continues = !first;
        first = false;
        if (part->kind == PART_PUSH) {
            part->pulled = pull_moments_latest(cut->moments, part->table, link);
        }
        part->value_bytes = value_bytes;
        part->dim = request->layout->dim;
        part->encoding = request->encoding;
        part->positions = request->positions != NULL ? request->positions + begin : NULL;
        part->first = begin;
        part_list_append(made, part);
        if (!block || !put_in_block(request, cut, part, begin, keys)) {
            size_t bytes = request->grads != NULL      ? value_bytes
                           : request->versions != NULL ? rows * sizeof(uint32_t)
                                                       : 0;
            part->buffer = part_buffer_create(rows, bytes);
            if (part->buffer == NULL) return false;
            (request->versions != NULL ? gather_versions : gather)(request, part, keys);
        }
        begin += rows;
    }
    return true;
}

/* Whether rows and gradients lie where some shard can reach them. */
static bool may_share(const struct request *request, const struct request_cut *cut,
                      uint32_t key_count)
{
    if (request->layout->dim == 0 || cut->blocks->base == NULL) return false;
    if (request->kind != PART_PULL && request->kind != PART_PUSH) return false;
    if (request->versions != NULL) return false;
    const float *rows = request->kind == PART_PUSH ? request->grads : request->rows;
    uint64_t bytes = (uint64_t)key_count * request->layout->dim * sizeof *rows;
    if (!region_contains(&cut->blocks->region, rows, bytes)) return false;
    for (uint32_t link = 0; link < cut->link_count; link++)
        if (cut->links[link].memory_mapped) return true;
    return false;
}

/* Memory for positions, where there are several links, and for the keys of blocks. */
static bool take_lists(struct request *request, const struct request_cut *cut, uint32_t key_count)
{
    bool sorted = cut->link_count > 1;
    uint64_t bytes = sorted ? (uint64_t)key_count * sizeof *request->positions : 0;
    if (may_share(request, cut, key_count)) {
        uint64_t key_bytes = (uint64_t)key_count * sizeof *request->keys;
        request->lists = region_alloc(&cut->blocks->region, key_bytes + bytes);
        request->keys = request->lists;
        request->shares = request->lists != NULL;
    }
    if (request->lists == NULL && sorted) request->lists = malloc(bytes);
    if (sorted && request->lists != NULL) {
        uint64_t keys = request->shares ? key_count : 0;
        request->positions = (uint32_t *)(void *)((uint64_t *)request->lists + keys);
    }
    return request->lists != NULL || !sorted;
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
    if (cut->shard_of == NULL) return false;
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
                        struct error *error)
{
    struct part_list made = {0};
    bool enough = key_count == 0 || take_lists(request, cut, key_count);
    if (enough && cut->link_count == 1) {
        enough = make_parts(request, cut, pool, model, 0, 0, key_count, keys, &made);
    } else if (enough && key_count > 0) {
        enough = sort_by_link(request, cut, keys, key_count);
        for (uint32_t link = 0; enough && link < cut->link_count; link++) {
            enough = make_parts(request, cut, pool, model, link, cut->starts[link],
                                cut->starts[link + 1], keys, &made);
        }
    }
    request->parts_left = made.count;
    for (struct part *part; (part = made.head) != NULL;) {
        part_list_remove(&made, part);
        if (enough) {
            client_link_add(&cut->links[part->link], part);
        } else {
            client_blocks_give(cut->blocks, part);
            part_pool_give(pool, part);
        }
    }
    if (enough) return STATUS_OK;
    return error_set(error, STATUS_NOMEM, "no memory for a request of %u keys", key_count);
}

/* Rows in frame 0 for the keys whose version in frame 1 is not 0. */
static enum status put_newer(struct request *request, const struct part *part,
                             const struct message *message, struct error *error)
{
    const struct frame *rows = &message->payload[0], *versions = &message->payload[1];
    const size_t row_bytes = row_codec_bytes(part->encoding, part->dim);
    const unsigned char *from = rows->data;
    uint32_t version, sent = 0;
    bool sound = message->payload_count == 2 && versions->bytes == part->key_count * sizeof version;
    for (uint32_t i = 0; sound && i < part->key_count; i++) {
        memcpy(&version, (const char *)versions->data + i * sizeof version, sizeof version);
        sent += version != 0;
    }
    if (!sound || rows->bytes != sent * row_bytes) {
        return error_set(error, STATUS_CORRUPT,
                         "answer of %u payload frames to a conditional pull of %u keys",
                         message->payload_count, part->key_count);
    }
    for (uint32_t i = 0; i < part->key_count; i++) {
        uint32_t position = part->positions != NULL ? part->positions[i] : part->first + i;
        memcpy(&version, (const char *)versions->data + i * sizeof version, sizeof version);
        if (version == 0) continue;
        request->versions[position] = version;
        row_codec_decode(part->encoding, from, request->rows + (uint64_t)position * part->dim,
                         part->dim);
        from += row_bytes;
    }
    return STATUS_OK;
}

enum status request_put_rows(struct request *request, const struct part *part,
                             const struct message *message, struct error *error)
{
    if (part->block != 0) return STATUS_OK;
    if (part->conditional) return put_newer(request, part, message, error);
    const struct frame *values = &message->payload[0];
    if (message->payload_count != 1 || values->bytes != part->value_bytes) {
        return error_set(error, STATUS_CORRUPT,
                         "answer of %u payload frames, the first of %zu bytes; one of %zu expected",
                         message->payload_count, message->payload_count > 0 ? values->bytes : 0,
                         part->value_bytes);
    }
    const struct table_layout *layout = request->layout;
    const unsigned char *from = values->data;
    if (part->positions == NULL && request->encoding == ANTHILL__ENCODING__ENCODING_F32) {
        memcpy(request->rows + row_offset(layout, part->first), from, part->value_bytes);
        return STATUS_OK;
    }
    for (uint32_t i = 0; i < part->key_count; i++) {
        uint32_t position = part->positions != NULL ? part->positions[i] : part->first + i;
        uint32_t floats = row_floats(layout, position);
        row_codec_decode(part->encoding, from, request->rows + row_offset(layout, position),
                         floats);
        from += row_codec_bytes(part->encoding, floats);
    }
    return STATUS_OK;
}

enum status request_put_keys(struct request *request, const struct part *part,
                             const struct message *message, uint32_t link_count,
                             struct error *error)
{
    const struct frame *keys = &message->payload[0];
    size_t bytes_max = part->key_count * sizeof *request->scan_keys;
    if (message->payload_count != 1 || keys->bytes > bytes_max ||
        keys->bytes % sizeof *request->scan_keys != 0) {
        return error_set(error, STATUS_CORRUPT,
                         "answer of %u payload frames, the first of %zu bytes; one of at most %zu "
                         "with whole keys expected",
                         message->payload_count, message->payload_count > 0 ? keys->bytes : 0,
                         bytes_max);
    }
    memcpy(request->scan_keys, keys->data, keys->bytes);
    *request->scan_count = (uint32_t)(keys->bytes / sizeof *request->scan_keys);
    struct client_scan *scan = request->scan;
    scan->cursor = message->envelope->scan_reply->cursor;
    if (scan->cursor == 0) scan->ended = ++scan->shard == link_count;
    return STATUS_OK;
}

enum status request_put_description(struct request *request, const struct message *message,
                                    struct error *error)
{
    const Anthill__DescribeReply *reply = message->envelope->describe_reply;
    *request->description = wire_copy(&reply->base);
    if (*request->description != NULL) return STATUS_OK;
    return error_set(error, STATUS_CORRUPT, "a description that cannot be copied");
}
