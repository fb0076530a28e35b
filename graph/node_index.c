#include "graph/node_index.h"

#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/checksum.h"
#include "common/rng.h"

struct slot {
    uint64_t key; /* the number, or the hash of the name */
    uint32_t node;
};

struct node_index {
    bool names;
    uint32_t count, capacity;
    struct slot *slots; /* open addressing, at most 2/3 full */
    uint64_t slot_count;
    uint64_t *numbers; /* [capacity] external numbers */
    char *bytes;       /* names one after the other */
    uint64_t bytes_used, bytes_capacity;
    uint64_t *offsets; /* [capacity + 1] into bytes */
};

static void *grow(void *memory, size_t count, size_t item_bytes)
{
    memory = realloc(memory, count * item_bytes);
    CHECK(memory != NULL);
    return memory;
}

static struct slot *slots_create(uint64_t count)
{
    struct slot *slots = malloc(count * sizeof *slots);
    CHECK(slots != NULL);
    for (uint64_t i = 0; i < count; i++)
        slots[i].node = NODE_NONE;
    return slots;
}

struct node_index *node_index_create(bool names)
{
    struct node_index *index = calloc(1, sizeof *index);
    CHECK(index != NULL);
    index->names = names;
    index->slot_count = 1024;
    index->slots = slots_create(index->slot_count);
    return index;
}

void node_index_destroy(struct node_index *index)
{
    if (index == NULL) return;
    free(index->slots);
    free(index->numbers);
    free(index->bytes);
    free(index->offsets);
    free(index);
}

static uint64_t slot_first(const struct node_index *index, uint64_t key)
{
    return rng_mix(key + UINT64_C(0x9e3779b97f4a7c15)) & (index->slot_count - 1);
}

static bool name_equals(const struct node_index *index, uint32_t node, const char *name,
                        size_t bytes)
{
    uint64_t first = index->offsets[node];
    return index->offsets[node + 1] - first == bytes &&
           memcmp(index->bytes + first, name, bytes) == 0;
}

/* The slot of the key, or the empty one where it belongs. `name` is NULL for numbers. */
static struct slot *slot_find(const struct node_index *index, uint64_t key, const char *name,
                              size_t bytes)
{
    uint64_t at = slot_first(index, key);
    for (;; at = (at + 1) & (index->slot_count - 1)) {
        struct slot *slot = &index->slots[at];
        if (slot->node == NODE_NONE) return slot;
        if (slot->key != key) continue;
        if (name == NULL || name_equals(index, slot->node, name, bytes)) return slot;
    }
}

static void slots_grow(struct node_index *index)
{
    struct slot *old = index->slots;
    uint64_t old_count = index->slot_count;
    index->slot_count *= 2;
    index->slots = slots_create(index->slot_count);
    for (uint64_t i = 0; i < old_count; i++) {
        if (old[i].node == NODE_NONE) continue;
        /* All entries differ: the first empty slot is the right one. */
        uint64_t at = slot_first(index, old[i].key);
        while (index->slots[at].node != NODE_NONE)
            at = (at + 1) & (index->slot_count - 1);
        index->slots[at] = old[i];
    }
    free(old);
}

/* Room for one more node. */
static bool reserve(struct node_index *index)
{
    if (index->count >= NODE_NONE - 1) return false;
    if (3 * ((uint64_t)index->count + 1) > 2 * index->slot_count) slots_grow(index);
    if (index->count == index->capacity) {
        uint64_t wanted = index->capacity < 1024 ? 1024 : (uint64_t)index->capacity * 2;
        index->capacity = wanted > NODE_NONE ? NODE_NONE : (uint32_t)wanted;
        if (index->names)
            index->offsets = grow(index->offsets, (size_t)index->capacity + 1, sizeof(uint64_t));
        else
            index->numbers = grow(index->numbers, index->capacity, sizeof(uint64_t));
    }
    return true;
}

uint32_t node_index_add_number(struct node_index *index, uint64_t id)
{
    CHECK(!index->names);
    struct slot *slot = slot_find(index, id, NULL, 0);
    if (slot->node != NODE_NONE) return slot->node;
    if (!reserve(index)) return NODE_NONE;
    slot = slot_find(index, id, NULL, 0);
    *slot = (struct slot){.key = id, .node = index->count};
    index->numbers[index->count] = id;
    return index->count++;
}

uint32_t node_index_add_name(struct node_index *index, const char *name, size_t bytes)
{
    CHECK(index->names);
    const uint64_t key = checksum_bytes(name, bytes);
    struct slot *slot = slot_find(index, key, name, bytes);
    if (slot->node != NODE_NONE) return slot->node;
    if (!reserve(index)) return NODE_NONE;
    slot = slot_find(index, key, name, bytes);
    *slot = (struct slot){.key = key, .node = index->count};
    while (index->bytes_used + bytes > index->bytes_capacity) {
        index->bytes_capacity = index->bytes_capacity == 0 ? 4096 : 2 * index->bytes_capacity;
        index->bytes = grow(index->bytes, index->bytes_capacity, 1);
    }
    if (bytes > 0) memcpy(index->bytes + index->bytes_used, name, bytes);
    index->offsets[index->count] = index->bytes_used;
    index->bytes_used += bytes;
    index->offsets[index->count + 1] = index->bytes_used;
    return index->count++;
}

uint32_t node_index_find_number(const struct node_index *index, uint64_t id)
{
    CHECK(!index->names);
    return slot_find(index, id, NULL, 0)->node;
}

uint32_t node_index_find_name(const struct node_index *index, const char *name, size_t bytes)
{
    CHECK(index->names);
    return slot_find(index, checksum_bytes(name, bytes), name, bytes)->node;
}

uint32_t node_index_count(const struct node_index *index)
{
    return index->count;
}

bool node_index_has_names(const struct node_index *index)
{
    return index->names;
}

uint64_t node_index_number(const struct node_index *index, uint32_t node)
{
    CHECK(node < index->count && !index->names);
    return index->numbers[node];
}

const char *node_index_name(const struct node_index *index, uint32_t node, size_t *bytes)
{
    CHECK(node < index->count && index->names);
    *bytes = index->offsets[node + 1] - index->offsets[node];
    return index->bytes + index->offsets[node];
}
