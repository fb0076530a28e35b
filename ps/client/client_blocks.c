#include "ps/client/client_blocks.h"

#include <stdlib.h>

#include "common/check.h"
#include "ps/row_codec.h"
#include "ps/shared_block.h"

void client_blocks_init(struct client_blocks *blocks, void *base,
                        const Anthill__SharedMemory *where)
{
    CHECK(where->bytes > SHARED_BLOCKS_END);
    *blocks = (struct client_blocks){.base = base, .where = *where};
    region_init(&blocks->region, blocks->base + SHARED_BLOCKS_END,
                where->bytes - SHARED_BLOCKS_END);
    blocks->free_numbers = malloc(SHARED_BLOCKS * sizeof *blocks->free_numbers);
    CHECK(blocks->free_numbers != NULL);
    for (uint32_t number = SHARED_BLOCKS; number > 0; number--)
        blocks->free_numbers[blocks->free_count++] = number;
}

void client_blocks_deinit(struct client_blocks *blocks)
{
    region_deinit(&blocks->region);
    free(blocks->free_numbers);
    *blocks = (struct client_blocks){0};
}

static struct shared_block *block_of(const struct client_blocks *blocks, const struct part *part)
{
    return shared_block_at(blocks->base, part->block);
}

static void set_state(struct shared_block *block, uint64_t state)
{
    atomic_store_explicit(&block->state, state, memory_order_release);
}

bool client_blocks_offer(struct client_blocks *blocks, struct part *part, const uint64_t *keys,
                         const uint32_t *positions, const float *rows)
{
    if (blocks->free_count == 0) return false;
    part->block = blocks->free_numbers[--blocks->free_count];
    part->block_keys = keys;
    part->block_rows = rows;
    struct shared_block *block = block_of(blocks, part);
    block->keys = (uint64_t)((const unsigned char *)keys - blocks->base);
    block->positions =
        positions != NULL ? (uint64_t)((const unsigned char *)positions - blocks->base) : 0;
    block->rows = (uint64_t)((const unsigned char *)rows - blocks->base);
    set_state(block, shared_block_state(part->id, BLOCK_PENDING));
    return true;
}

void client_blocks_offer_again(struct client_blocks *blocks, const struct part *part)
{
    set_state(block_of(blocks, part), shared_block_state(part->id, BLOCK_PENDING));
}

static bool has_phase(const struct client_blocks *blocks, const struct part *part,
                      enum block_phase phase)
{
    const struct shared_block *block = block_of(blocks, part);
    return atomic_load_explicit(&block->state, memory_order_acquire) ==
           shared_block_state(part->id, phase);
}

bool client_blocks_done(const struct client_blocks *blocks, const struct part *part)
{
    return has_phase(blocks, part, BLOCK_DONE);
}

bool client_blocks_taken(const struct client_blocks *blocks, const struct part *part)
{
    return has_phase(blocks, part, BLOCK_TAKEN);
}

bool client_blocks_left(const struct client_blocks *blocks, const struct part *part)
{
    return blocks->ended == NULL || part->process == 0 || blocks->ended(part->process);
}

bool client_blocks_withdraw(struct client_blocks *blocks, const struct part *part)
{
    struct shared_block *block = block_of(blocks, part);
    const uint64_t pending = shared_block_state(part->id, BLOCK_PENDING);
    while (!shared_block_change(block, pending, 0)) {
        if (client_blocks_taken(blocks, part)) return false;
        /* Done, or withdrawn before; pending again when the shard has refused it just now. */
        if (!has_phase(blocks, part, BLOCK_PENDING)) return true;
    }
    return true;
}

void client_blocks_give(struct client_blocks *blocks, struct part *part)
{
    if (part->block == 0) return;
    set_state(block_of(blocks, part), 0);
    blocks->free_numbers[blocks->free_count++] = part->block;
    part->block = 0;
}

void client_blocks_leave(struct client_blocks *blocks, struct part *part)
{
    const uint64_t *keys = part->block_keys;
    bool push = part->kind == PART_PUSH;
    size_t row_bytes = part->value_bytes / part->key_count;
    part->buffer = part_buffer_create(part->key_count, push ? part->value_bytes : 0);
    CHECK(part->buffer != NULL);
    unsigned char *values = part_buffer_values(part->buffer);
    for (uint32_t i = 0; i < part->key_count; i++) {
        uint64_t place = part->positions != NULL ? part->positions[i] : i;
        part_buffer_keys(part->buffer)[i] = keys[i];
        if (!push) continue;
        row_codec_encode(part->encoding, part->block_rows + place * part->dim,
                         values + i * row_bytes, part->dim);
    }
    client_blocks_give(blocks, part);
    part->left_block = true;
}
