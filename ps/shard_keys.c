/* Finds what a request asks for: its table, its keys, and where rows go or come from. Sizes are
 * checked before memory is taken. */
#include <inttypes.h>

#include "ps/row_codec.h"
#include "ps/shard_state.h"

static bool is_sparse(const struct keys_request *keys)
{
    return table_spec(keys->table->table)->kind == ANTHILL__TABLE_KIND__TABLE_SPARSE;
}

enum status shard_keys_table(const struct shard *shard, uint32_t number, bool sparse,
                             struct keys_request *keys, struct error *error)
{
    if (number >= shard->table_count) {
        return error_set(error, STATUS_INVALID, "%s of table %u: there are %u", keys->what, number,
                         shard->table_count);
    }
    keys->table = &shard->tables[number];
    keys->name = table_spec(keys->table->table)->name;
    if (!sparse || is_sparse(keys)) return STATUS_OK;
    return error_set(error, STATUS_INVALID, "%s of \"%s\", which is dense", keys->what, keys->name);
}

static enum status check_encoding(const struct keys_request *keys, struct error *error)
{
    if (row_codec_bytes(keys->encoding, 1) == 0) {
        return error_set(error, STATUS_INVALID,
                         "%s of \"%s\": rows in encoding %u, which this version does not know",
                         keys->what, keys->name, (unsigned)keys->encoding);
    }
    if (keys->encoding == ANTHILL__ENCODING__ENCODING_F32 || is_sparse(keys)) return STATUS_OK;
    return error_set(error, STATUS_INVALID, "%s of \"%s\": rows of a dense table are f32",
                     keys->what, keys->name);
}

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
    uint64_t floats;
    enum status status =
        table_floats(keys->table->table, keys->keys, keys->key_count, &floats, error);
    if (status != STATUS_OK) return status;
    uint32_t dim = table_spec(keys->table->table)->dim;
    keys->value_bytes = is_sparse(keys) ? keys->key_count * row_codec_bytes(keys->encoding, dim)
                                        : floats * sizeof(float);
    if (keys->value_bytes <= WIRE_FRAME_BYTES_MAX) return STATUS_OK;
    return error_set(error, STATUS_INVALID,
                     "%s of \"%s\": rows of %" PRIu64 " bytes; a frame has at most %u", keys->what,
                     keys->name, keys->value_bytes, WIRE_FRAME_BYTES_MAX);
}

static enum status check_block(struct shard *shard, const struct shard_request *request,
                               uint32_t number, struct keys_request *keys, struct error *error)
{
    enum status status;
    if (!is_sparse(keys)) {
        status = error_set(error, STATUS_INVALID, "block %u for a dense table", number);
    } else if (request->message->payload_count != 0) {
        status = error_set(error, STATUS_INVALID, "block %u and %u payload frames", number,
                           request->message->payload_count);
    } else if (keys->encoding != ANTHILL__ENCODING__ENCODING_F32) {
        status = error_set(error, STATUS_INVALID, "block %u and encoding %u: rows there are f32",
                           number, (unsigned)keys->encoding);
    } else {
        uint32_t dim = table_spec(keys->table->table)->dim;
        status = shard_memory_read(shard, request->session, number, request->envelope->request,
                                   keys->key_count, dim * sizeof(float), &keys->part, error);
    }
    keys->keys = keys->part.keys;
    if (status == STATUS_OK) return status;
    return error_wrap(error, status, "%s of \"%s\"", keys->what, keys->name);
}

enum status shard_keys_check(struct shard *shard, const struct shard_request *request,
                             uint32_t table, uint32_t block, unsigned payload_count,
                             struct keys_request *keys, struct error *error)
{
    enum status status = shard_keys_table(shard, table, false, keys, error);
    if (status == STATUS_OK) status = check_encoding(keys, error);
    if (status != STATUS_OK) return status;
    return block != 0 ? check_block(shard, request, block, keys, error)
                      : check_frames(request->message, payload_count, keys, error);
}

enum status shard_keys_frame(const struct shard_request *request, const struct keys_request *keys,
                             uint64_t bytes, const char *items, struct error *error)
{
    if (request->message->payload[1].bytes == bytes) return STATUS_OK;
    return error_set(error, STATUS_INVALID, "%s of \"%s\": %zu bytes of %s; %" PRIu64 " expected",
                     keys->what, keys->name, request->message->payload[1].bytes, items, bytes);
}
