#include "ps/client/client_part.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "common/check.h"

/* An id is serial << SLOT_BITS | slot. */
#define SLOT_BITS 20
#define SLOT_MASK ((UINT64_C(1) << SLOT_BITS) - 1)

struct part_buffer {
    atomic_uint references;
    uint32_t key_count;
    size_t value_bytes;
    _Alignas(64) unsigned char data[]; /* keys, then values */
};

struct part_buffer *part_buffer_create(uint32_t key_count, size_t value_bytes)
{
    size_t bytes = sizeof(struct part_buffer) + key_count * sizeof(uint64_t) + value_bytes;
    struct part_buffer *buffer = aligned_alloc(64, (bytes + 63) & ~(size_t)63);
    if (buffer == NULL) return NULL;
    atomic_init(&buffer->references, 1);
    buffer->key_count = key_count;
    buffer->value_bytes = value_bytes;
    return buffer;
}

void part_buffer_unref(struct part_buffer *buffer)
{
    if (buffer == NULL) return;
    if (atomic_fetch_sub_explicit(&buffer->references, 1, memory_order_acq_rel) == 1) free(buffer);
}

uint64_t *part_buffer_keys(struct part_buffer *buffer)
{
    return (uint64_t *)(void *)buffer->data;
}

void *part_buffer_values(struct part_buffer *buffer)
{
    return buffer->data + buffer->key_count * sizeof(uint64_t);
}

/* Called by whichever thread has sent the frame. */
static void release_reference(void *data, void *hint)
{
    (void)data;
    part_buffer_unref(hint);
}

static struct frame shared_frame(struct part_buffer *buffer, void *data, size_t bytes)
{
    atomic_fetch_add_explicit(&buffer->references, 1, memory_order_relaxed);
    return (struct frame){
        .data = data, .bytes = bytes, .release = release_reference, .hint = buffer};
}

struct frame part_buffer_keys_frame(struct part_buffer *buffer)
{
    return shared_frame(buffer, buffer->data, buffer->key_count * sizeof(uint64_t));
}

struct frame part_buffer_values_frame(struct part_buffer *buffer)
{
    return shared_frame(buffer, part_buffer_values(buffer), buffer->value_bytes);
}

void part_list_append(struct part_list *list, struct part *part)
{
    part->next = NULL;
    part->previous = list->tail;
    *(list->tail != NULL ? &list->tail->next : &list->head) = part;
    list->tail = part;
    list->count++;
}

void part_list_prepend(struct part_list *list, struct part *part)
{
    part->previous = NULL;
    part->next = list->head;
    *(list->head != NULL ? &list->head->previous : &list->tail) = part;
    list->head = part;
    list->count++;
}

void part_list_remove(struct part_list *list, struct part *part)
{
    *(part->previous != NULL ? &part->previous->next : &list->head) = part->next;
    *(part->next != NULL ? &part->next->previous : &list->tail) = part->previous;
    part->next = part->previous = NULL;
    list->count--;
}

static void pool_grow(struct part_pool *pool)
{
    uint32_t capacity = pool->capacity == 0 ? 64 : pool->capacity * 2;
    CHECK(capacity <= SLOT_MASK + 1);
    pool->slots = realloc(pool->slots, capacity * sizeof(struct part *));
    pool->free_slots = realloc(pool->free_slots, capacity * sizeof *pool->free_slots);
    CHECK(pool->slots != NULL && pool->free_slots != NULL);
    for (uint32_t slot = capacity; slot-- > pool->capacity;) {
        pool->slots[slot] = NULL;
        pool->free_slots[pool->free_count++] = slot;
    }
    pool->capacity = capacity;
}

struct part *part_pool_take(struct part_pool *pool)
{
    if (pool->free_count == 0) pool_grow(pool);
    struct part *part = calloc(1, sizeof *part);
    CHECK(part != NULL);
    uint32_t slot = pool->free_slots[--pool->free_count];
    part->id = ++pool->serial << SLOT_BITS | slot;
    pool->slots[slot] = part;
    return part;
}

void part_pool_renew(struct part_pool *pool, struct part *part)
{
    part->id = ++pool->serial << SLOT_BITS | (part->id & SLOT_MASK);
}

void part_pool_give(struct part_pool *pool, struct part *part)
{
    uint32_t slot = (uint32_t)(part->id & SLOT_MASK);
    CHECK(pool->slots[slot] == part);
    pool->slots[slot] = NULL;
    pool->free_slots[pool->free_count++] = slot;
    part_buffer_unref(part->buffer);
    free(part);
}

struct part *part_pool_find(const struct part_pool *pool, uint64_t id)
{
    uint64_t slot = id & SLOT_MASK;
    if (slot >= pool->capacity || pool->slots[slot] == NULL) return NULL;
    return pool->slots[slot]->id == id ? pool->slots[slot] : NULL;
}

struct part *part_pool_next(const struct part_pool *pool, uint32_t *slot)
{
    while (*slot < pool->capacity) {
        struct part *part = pool->slots[(*slot)++];
        if (part != NULL) return part;
    }
    return NULL;
}

void part_pool_deinit(struct part_pool *pool)
{
    uint32_t slot = 0;
    for (struct part *part; (part = part_pool_next(pool, &slot)) != NULL;) {
        part_pool_give(pool, part);
    }
    free(pool->slots);
    free(pool->free_slots);
    *pool = (struct part_pool){0};
}
