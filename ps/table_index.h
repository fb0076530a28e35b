/* Key -> row number and version: open addressing with linear probing over 16-byte entries, kept
 * apart from the rows so that a search touches one or two cache lines. Pure.
 *
 * Growing doubles the capacity without a pause: the old array stays beside the new one and is
 * copied a number of slots at a time (table_index_move). What is copied stays where it was and
 * counts no more: an entry of the old array is valid from slot `old_next` on. The slot before
 * that one is empty, and stays so: no search goes from one part into the other.
 *
 *     old  [ b . a d ]             slots 0 and 1 are copied: b counts no more
 *     new  [ b . e . . . . . ]     e was added since; a and d are found in old
 *
 * A position is the hash's upper bits, so that copying writes the new array in order, and a key
 * belongs either to the copied part, and is looked for and added in the new array, or to the other,
 * and the old one: pages of the new array are touched one after the other, not all of them by the
 * keys of one request. The exceptions are what had wrapped from the end of the old array to its
 * front, which is copied first, and keys that find no room in the old array. Different keys have
 * different hashes, so a hash is also a place to go on from (table_index_scan). */
#ifndef ANTHILL_PS_TABLE_INDEX_H
#define ANTHILL_PS_TABLE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/rng.h"
#include "common/status.h"

#define INDEX_ROWS_MAX UINT32_MAX

struct index_entry {
    uint64_t key;
    uint32_t row_plus_one; /* 0: empty, so that every key can be used */
    uint32_t version;      /* the table's */
};

struct index_array {
    struct index_entry *entries; /* NULL: none */
    uint64_t mask;               /* capacity - 1 */
    unsigned shift;              /* position = hash >> shift */
};

struct table_index {
    struct index_array now;
    struct index_array old;   /* while it grows */
    uint64_t old_next;        /* slots of `old` before this one are copied */
    bool now_too;             /* keys of the part that is not copied may stand in `now` */
    struct index_array spare; /* mapped ahead for the next growth; costs no memory until then */
    uint64_t count;
};

/*   errors   STATUS_NOMEM
 *   owner    table_index_deinit */
enum status table_index_init(struct table_index *index) MUST_CHECK;
void table_index_deinit(struct table_index *index);

/* Adds a key that is not there, at load 0.8 at most. row < INDEX_ROWS_MAX.
 *   errors   STATUS_NOMEM; nothing has changed then */
enum status table_index_add(struct table_index *index, uint64_t key, uint32_t row,
                            uint32_t version) MUST_CHECK;

/* So many keys more can be added without an error.
 *   errors   STATUS_NOMEM */
enum status table_index_reserve(struct table_index *index, uint64_t keys) MUST_CHECK;

/* Removes the entry that table_index_find found; other entries may move. */
void table_index_remove(struct table_index *index, struct index_entry *entry);

/* Copies `slots` slots of the old array, if it grows, and goes on to the next empty one. A caller
 * that gives every request at least twice the keys that it may add never meets a full array with an
 * old one beside it. */
void table_index_move(struct table_index *index, uint64_t slots);

/* Memory of the arrays; and when one more key is added. */
uint64_t table_index_bytes(const struct table_index *index);
uint64_t table_index_bytes_next(const struct table_index *index);

/* The entries whose hashes are in [*cursor, ...], up to entries_max (at least 2) of them in no
 * order, borrowed until the index changes; *cursor is where to go on, 0 when these were the last.
 * Keys that come and go, and growing, do not disturb the others. */
void table_index_scan(const struct table_index *index, uint64_t *cursor,
                      struct index_entry **entries, uint32_t entries_max, uint32_t *entry_count);

/* Not the hash that chooses a key's slot: a shard's keys all have neighbouring slots. */
static inline uint64_t table_index_hash(uint64_t key)
{
    return rng_mix(key ^ UINT64_C(0x2545f4914f6cdd1d));
}

static inline void table_index_prefetch(const struct table_index *index, uint64_t hash)
{
    const struct index_array *array = &index->now;
    if (__builtin_expect(index->old.entries != NULL, 0) &&
        hash >> index->old.shift >= index->old_next) {
        array = &index->old;
    }
    __builtin_prefetch(&array->entries[hash >> array->shift], 0, 3);
}

static inline struct index_entry *index_array_find(const struct index_array *array, uint64_t key,
                                                   uint64_t hash)
{
    uint64_t position = hash >> array->shift;
    for (;;) {
        struct index_entry *entry = &array->entries[position];
        if (entry->row_plus_one == 0) return NULL;
        if (entry->key == key) return entry;
        position = (position + 1) & array->mask;
    }
}

/* table_index_find while the index grows. */
struct index_entry *table_index_find_growing(const struct table_index *index, uint64_t key,
                                             uint64_t hash);

/* The entry of `key`, whose hash is `hash`; NULL when it is not there. Borrowed until the index
 * changes. */
static inline struct index_entry *table_index_find(const struct table_index *index, uint64_t key,
                                                   uint64_t hash)
{
    if (__builtin_expect(index->old.entries != NULL, 0)) {
        return table_index_find_growing(index, key, hash);
    }
    return index_array_find(&index->now, key, hash);
}

#endif
