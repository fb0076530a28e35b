/* Memory that clients share with the shard: mapping it, and reading what its blocks say. The client
 * may write at any time, so everything is copied before it is checked, and checked before it leads
 * anywhere. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ps/shard_state.h"

static void drop_waiting_blocks(struct shard *shard, uint64_t session)
{
    for (uint32_t i = shard->waiting.count; i-- > 0;) {
        const struct waiting_pull *pull = &shard->waiting.items[i];
        if (pull->session == session && pull->block != 0) shard_drop_waiting(shard, i);
    }
}

void shard_memory_close(struct shard *shard, struct session *session)
{
    struct session_memory *memory = &session->memory;
    if (memory->base != NULL) {
        drop_waiting_blocks(shard, session->id);
        shard->options.memory.close(shard->options.memory.context, memory->base, memory->bytes);
        shard->memories--;
    }
    *memory = (struct session_memory){0};
}

void shard_memory_open(struct shard *shard, struct session *session,
                       const Anthill__SharedMemory *memory)
{
    const struct session_memory *old = &session->memory;
    if (old->nonce == memory->nonce && old->bytes == memory->bytes && old->pid == memory->pid &&
        old->fd == memory->fd) {
        return; /* mapped, or refused before */
    }
    shard_memory_close(shard, session);
    if (shard->options.memory.open == NULL || shard->memories == SHARD_MEMORIES_MAX) return;
    if (memory->bytes < SHARED_BLOCKS_END) return;
    session->memory = (struct session_memory){
        .base = shard->options.memory.open(shard->options.memory.context, memory),
        .bytes = memory->bytes,
        .nonce = memory->nonce,
        .pid = memory->pid,
        .fd = memory->fd};
    shard->memories += session->memory.base != NULL;
}

void shard_memory_tick(struct shard *shard, struct session *session)
{
    const struct shard_memory_access *access = &shard->options.memory;
    const struct session_memory *memory = &session->memory;
    if (memory->base == NULL || access->is_open(access->context, memory->pid, memory->fd)) return;
    shard_memory_close(shard, session);
}

/* Whether `count` items of `item` bytes from `offset` on lie within the client's part of it. */
static bool lies_within(const struct session_memory *memory, uint64_t offset, uint64_t count,
                        uint64_t item, uint64_t alignment)
{
    return offset >= SHARED_BLOCKS_END && offset <= memory->bytes && offset % alignment == 0 &&
           count <= (memory->bytes - offset) / item;
}

static enum status make_scratch(struct shard *shard, struct error *error)
{
    if (shard->block_keys != NULL) return STATUS_OK;
    shard->block_keys = malloc(SHARED_BLOCK_KEYS_MAX * (sizeof(uint64_t) + sizeof(uint32_t)));
    if (shard->block_keys != NULL) return STATUS_OK;
    return error_set(error, STATUS_NOMEM, "no memory for the keys of a block");
}

/* The highest place that positions name, all of them looked at. */
static uint32_t highest_place(const uint32_t *positions, uint32_t count)
{
    uint32_t highest = 0;
    for (uint32_t i = 0; i < count; i++)
        highest = positions[i] > highest ? positions[i] : highest;
    return highest;
}

/* `at` is a copy of the block. */
static enum status read_lists(struct shard *shard, const struct session_memory *memory,
                              const struct shared_block *at, uint32_t key_count, uint64_t row_bytes,
                              struct block_part *part, struct error *error)
{
    uint64_t *keys = shard->block_keys;
    uint32_t *positions = (uint32_t *)(void *)(keys + SHARED_BLOCK_KEYS_MAX);
    uint64_t places = key_count;
    if (!lies_within(memory, at->keys, key_count, sizeof *keys, sizeof *keys)) {
        return error_set(error, STATUS_INVALID,
                         "%u keys at byte %" PRIu64 " of a memory of %" PRIu64, key_count, at->keys,
                         memory->bytes);
    }
    memcpy(keys, memory->base + at->keys, key_count * sizeof *keys);
    if (at->positions != 0) {
        if (!lies_within(memory, at->positions, key_count, sizeof *positions, sizeof *positions)) {
            return error_set(error, STATUS_INVALID,
                             "%u positions at byte %" PRIu64 " of a memory of %" PRIu64, key_count,
                             at->positions, memory->bytes);
        }
        memcpy(positions, memory->base + at->positions, key_count * sizeof *positions);
        places = (uint64_t)highest_place(positions, key_count) + 1;
    }
    if (!lies_within(memory, at->rows, places, row_bytes, sizeof(float))) {
        return error_set(error, STATUS_INVALID,
                         "%" PRIu64 " rows of %" PRIu64 " bytes at byte %" PRIu64
                         " of a memory of %" PRIu64,
                         places, row_bytes, at->rows, memory->bytes);
    }
    part->keys = keys;
    part->positions = at->positions != 0 ? positions : NULL;
    part->rows = memory->base + at->rows;
    return STATUS_OK;
}

enum status shard_memory_read(struct shard *shard, const struct session *session, uint32_t number,
                              uint64_t id, uint32_t key_count, uint64_t row_bytes,
                              struct block_part *part, struct error *error)
{
    const struct session_memory *memory = &session->memory;
    if (memory->base == NULL) {
        return error_set(error, STATUS_INVALID, "block %u, but no memory is shared", number);
    }
    if (number > SHARED_BLOCKS || number == 0) {
        return error_set(error, STATUS_INVALID, "block %u; there are %u", number, SHARED_BLOCKS);
    }
    if (key_count == 0 || key_count > SHARED_BLOCK_KEYS_MAX) {
        return error_set(error, STATUS_INVALID, "%u keys in a block; 1 to %u expected", key_count,
                         SHARED_BLOCK_KEYS_MAX);
    }
    enum status status = make_scratch(shard, error);
    if (status != STATUS_OK) return status;
    struct shared_block *block = shared_block_at(memory->base, number);
    uint64_t state = atomic_load_explicit(&block->state, memory_order_acquire);
    part->block = block;
    part->id = id;
    part->phase = 0;
    if (state == shared_block_state(id, BLOCK_DONE)) part->phase = BLOCK_DONE;
    if (state == shared_block_state(id, BLOCK_PENDING)) part->phase = BLOCK_PENDING;
    if (part->phase != BLOCK_PENDING) return STATUS_OK;
    struct shared_block copied;
    copied.keys = *(volatile uint64_t *)&block->keys;
    copied.positions = *(volatile uint64_t *)&block->positions;
    copied.rows = *(volatile uint64_t *)&block->rows;
    return read_lists(shard, memory, &copied, key_count, row_bytes, part, error);
}

bool shard_memory_take(const struct block_part *part)
{
    return shared_block_change(part->block, shared_block_state(part->id, BLOCK_PENDING),
                               shared_block_state(part->id, BLOCK_TAKEN));
}

void shard_memory_leave(const struct block_part *part, bool done)
{
    enum block_phase phase = done ? BLOCK_DONE : BLOCK_PENDING;
    /* A client that has turned to the shard's next primary may use the block for something else. */
    (void)shared_block_change(part->block, shared_block_state(part->id, BLOCK_TAKEN),
                              shared_block_state(part->id, phase));
}
