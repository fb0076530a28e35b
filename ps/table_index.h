/* Key -> row number: open addressing with linear probing over 16-byte entries, kept apart from the
 * rows so that a search touches one or two cache lines. Keys are never removed. Pure.
 *
 * Growing doubles the capacity without a pause: the old array stays beside the new one and is
 * copied a bounded number of slots at a time (table_index_move). Row numbers never change, so an
 * entry may stand in both, and the old array needs no marks:
 *
 *     old  [ b . a d ]             slots 0 and 1 are copied
 *     new  [ b . e . . . . . ]     e was added since; a and d are found in old
 *
 * A position is the hash's upper bits, so that copying writes the new array in order, and a key
 * that is added belongs either to the copied part, and goes to the new array, or to the other, and
 * goes to the old one: pages of the new array are touched one after the other. */
#ifndef ANTHILL_PS_TABLE_INDEX_H
#define ANTHILL_PS_TABLE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/rng.h"
#include "common/status.h"

#define INDEX_NONE UINT64_MAX

struct index_entry {
    uint64_t key;
    uint64_t row_plus_one; /* 0: empty, so that every key can be used */
};

struct index_array {
    struct index_entry *entries; /* NULL: none */
    uint64_t mask;               /* capacity - 1 */
    unsigned shift;              /* position = hash >> shift */
};

struct table_index {
    struct index_array now;
    struct index_array old; /* while it grows */
    uint64_t old_next;      /* slots of `old` before this one are copied */
    uint64_t count;
};

/*   errors   STATUS_NOMEM
 *   owner    table_index_deinit */
enum status table_index_init(struct table_index *index) MUST_CHECK;
void table_index_deinit(struct table_index *index);

/* Adds a key that is not there, at load 0.8 at most.
 *   errors   STATUS_NOMEM; nothing has changed then */
enum status table_index_add(struct table_index *index, uint64_t key, uint64_t row) MUST_CHECK;

/* Copies up to `slots` slots of the old array, if it grows. A caller that gives every request at
 * least twice the keys that it may add never meets a full array with an old one beside it. */
void table_index_move(struct table_index *index, uint64_t slots);

/* Memory of the arrays. */
uint64_t table_index_bytes(const struct table_index *index);

/* Not the hash that chooses a key's slot: a shard's keys all have neighbouring slots. */
static inline uint64_t table_index_hash(uint64_t key)
{
    return rng_mix(key ^ UINT64_C(0x2545f4914f6cdd1d));
}

static inline void table_index_prefetch(const struct table_index *index, uint64_t hash)
{
    __builtin_prefetch(&index->now.entries[hash >> index->now.shift], 0, 3);
    if (__builtin_expect(index->old.entries != NULL, 0)) {
        __builtin_prefetch(&index->old.entries[hash >> index->old.shift], 0, 3);
    }
}

static inline uint64_t index_array_find(const struct index_array *array, uint64_t key,
                                        uint64_t hash)
{
    uint64_t position = hash >> array->shift;
    for (;;) {
        const struct index_entry *entry = &array->entries[position];
        if (entry->row_plus_one == 0) return INDEX_NONE;
        if (entry->key == key) return entry->row_plus_one - 1;
        position = (position + 1) & array->mask;
    }
}

/* The row of `key`, whose hash is `hash`; INDEX_NONE when it is not there. */
static inline uint64_t table_index_find(const struct table_index *index, uint64_t key,
                                        uint64_t hash)
{
    uint64_t row = index_array_find(&index->now, key, hash);
    if (row == INDEX_NONE && __builtin_expect(index->old.entries != NULL, 0)) {
        row = index_array_find(&index->old, key, hash);
    }
    return row;
}

/* Calls `visit` for every key, in no order. */
void table_index_visit(const struct table_index *index,
                       void (*visit)(void *context, uint64_t key, uint64_t row), void *context);

#endif
