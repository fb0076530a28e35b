#include "ps/table_index.h"

#include "common/check.h"
#include "ps/pages.h"

#define CAPACITY_BITS_FIRST 8

static uint64_t capacity_of(const struct index_array *array)
{
    return array->entries == NULL ? 0 : array->mask + 1;
}

static enum status array_init(struct index_array *array, unsigned bits)
{
    uint64_t capacity = UINT64_C(1) << bits;
    struct index_entry *entries = pages_alloc(capacity * sizeof *entries);
    if (entries == NULL) return STATUS_NOMEM;
    *array = (struct index_array){.entries = entries, .mask = capacity - 1, .shift = 64 - bits};
    return STATUS_OK;
}

static void array_deinit(struct index_array *array)
{
    pages_free(array->entries, capacity_of(array) * sizeof *array->entries);
    *array = (struct index_array){0};
}

static void array_put(struct index_array *array, const struct index_entry *entry)
{
    uint64_t position = table_index_hash(entry->key) >> array->shift;
    while (array->entries[position].row_plus_one != 0)
        position = (position + 1) & array->mask;
    array->entries[position] = *entry;
}

enum status table_index_init(struct table_index *index)
{
    *index = (struct table_index){0};
    return array_init(&index->now, CAPACITY_BITS_FIRST);
}

void table_index_deinit(struct table_index *index)
{
    array_deinit(&index->now);
    array_deinit(&index->old);
    array_deinit(&index->spare);
}

void table_index_move(struct table_index *index, uint64_t slots)
{
    if (index->old.entries == NULL) return;
    uint64_t left = index->old.mask + 1 - index->old_next;
    uint64_t end = index->old_next + (slots < left ? slots : left), slot = index->old_next;
    for (bool empty = true; slot < end || (!empty && slot <= index->old.mask); slot++) {
        const struct index_entry *entry = &index->old.entries[slot];
        empty = entry->row_plus_one == 0;
        if (!empty) array_put(&index->now, entry);
    }
    index->old_next = slot;
    if (slot > index->old.mask) array_deinit(&index->old);
}

static enum status begin_growing(struct table_index *index)
{
    table_index_move(index, UINT64_MAX);
    struct index_array larger = index->spare;
    enum status status = STATUS_OK;
    if (larger.entries == NULL) status = array_init(&larger, 64 - index->now.shift + 1);
    if (status != STATUS_OK) return status;
    index->spare = (struct index_array){0};
    index->old = index->now;
    index->old_next = 0;
    index->now_too = false;
    index->now = larger;
    table_index_move(index, 1); /* what had wrapped to the front */
    return STATUS_OK;
}

static bool has_room(const struct index_array *array, uint64_t keys)
{
    return keys <= (array->mask + 1) / 5 * 4;
}

enum status table_index_reserve(struct table_index *index, uint64_t keys)
{
    uint64_t count = index->count + keys;
    enum status status = STATUS_OK;
    /* One growth may come on the way; a small index that needs more of them has them now. */
    while (status == STATUS_OK && !has_room(&index->now, (count + 1) / 2))
        status = begin_growing(index);
    if (status != STATUS_OK || has_room(&index->now, count) || index->spare.entries != NULL) {
        return status;
    }
    return array_init(&index->spare, 64 - index->now.shift + 1);
}

/* Puts the entry into the part of the old array that is not yet copied, if it belongs there. Spread
 * over the new array, the keys of one request would touch each of its pages for the first time, and
 * wait until the kernel has cleared them all. */
static bool put_old(struct table_index *index, const struct index_entry *entry)
{
    const struct index_array *old = &index->old;
    uint64_t position = table_index_hash(entry->key) >> old->shift;
    if (position < index->old_next) return false;
    if (index->count > old->mask / 10 * 9) {
        index->now_too = true;
        return false;
    }
    while (old->entries[position].row_plus_one != 0) {
        if (++position > old->mask) return false; /* what wraps to the front would not be copied */
    }
    old->entries[position] = *entry;
    return true;
}

static bool is_full(const struct table_index *index)
{
    return !has_room(&index->now, index->count + 1);
}

enum status table_index_add(struct table_index *index, uint64_t key, uint32_t row, uint32_t version)
{
    if (is_full(index)) {
        enum status status = begin_growing(index);
        if (status != STATUS_OK) return status;
    }
    struct index_entry entry = {.key = key, .row_plus_one = row + 1, .version = version};
    if (index->old.entries == NULL || !put_old(index, &entry)) array_put(&index->now, &entry);
    index->count++;
    return STATUS_OK;
}

struct index_entry *table_index_find_growing(const struct table_index *index, uint64_t key,
                                             uint64_t hash)
{
    const struct index_array *old = &index->old;
    uint64_t position = hash >> old->shift;
    if (position >= index->old_next) {
        for (; position <= old->mask; position++) {
            struct index_entry *entry = &old->entries[position];
            if (entry->row_plus_one == 0) break;
            if (entry->key == key) return entry;
        }
        /* From the end of the old array it may have wrapped. */
        if (position <= old->mask && !index->now_too) return NULL;
    }
    return index_array_find(&index->now, key, hash);
}

/* Closes the gap that an entry leaves: what stands behind it without one moves up, unless it would
 * come before its own position (Knuth, The Art of Computer Programming 3, 6.4, Algorithm R). Slots
 * before `first` are copied and stay: the walk ends there; true when it came so far. */
static bool array_remove(struct index_array *array, uint64_t gap, uint64_t first)
{
    bool wrapped = false;
    for (uint64_t next = gap;;) {
        next = (next + 1) & array->mask;
        wrapped = wrapped || next < gap;
        const struct index_entry *entry = &array->entries[next];
        if (entry->row_plus_one == 0 || next < first) break;
        uint64_t home = table_index_hash(entry->key) >> array->shift;
        if (((next - home) & array->mask) < ((next - gap) & array->mask)) continue;
        array->entries[gap] = *entry;
        gap = next;
    }
    array->entries[gap] = (struct index_entry){0};
    return wrapped;
}

void table_index_remove(struct table_index *index, struct index_entry *entry)
{
    const struct index_array *now = &index->now;
    if (entry >= now->entries && entry <= now->entries + now->mask) {
        (void)array_remove(&index->now, (uint64_t)(entry - now->entries), 0);
    } else {
        CHECK(index->old.entries != NULL);
        /* A gap that is left at the end hides what had wrapped behind it. */
        bool wrapped =
            array_remove(&index->old, (uint64_t)(entry - index->old.entries), index->old_next);
        index->now_too = index->now_too || wrapped;
    }
    index->count--;
}

uint64_t table_index_bytes(const struct table_index *index)
{
    return (capacity_of(&index->now) + capacity_of(&index->old)) * sizeof(struct index_entry);
}

uint64_t table_index_bytes_next(const struct table_index *index)
{
    uint64_t slots = capacity_of(&index->now);
    return is_full(index) ? 3 * slots * sizeof(struct index_entry) : table_index_bytes(index);
}

/* What a scan has found so far. */
struct scan {
    uint64_t first, last; /* hashes */
    struct index_entry **entries;
    uint32_t entries_max, count;
};

/* Entries of the scan's hashes in slots from `valid` on; *wrapped: the walk came to the array's
 * end. False when they do not fit. */
static bool array_scan(const struct index_array *array, uint64_t valid, struct scan *scan,
                       bool *wrapped)
{
    uint64_t position = scan->first >> array->shift, home_last = scan->last >> array->shift;
    for (uint64_t step = 0; step <= array->mask; step++, position++) {
        struct index_entry *entry = &array->entries[position & array->mask];
        *wrapped = position >= array->mask;
        if (entry->row_plus_one == 0) {
            if (position >= home_last) return true;
            continue;
        }
        uint64_t hash = table_index_hash(entry->key);
        if (hash < scan->first || hash > scan->last || (position & array->mask) < valid) continue;
        if (scan->count == scan->entries_max) return false;
        scan->entries[scan->count++] = entry;
    }
    return true;
}

/* While the index grows, `now` is left alone where nothing of these hashes can be. */
static bool scan_range(const struct table_index *index, struct scan *scan)
{
    bool wrapped = false;
    scan->count = 0;
    if (index->old.entries != NULL) {
        if (!array_scan(&index->old, index->old_next, scan, &wrapped)) return false;
        bool copied = scan->first >> index->old.shift < index->old_next;
        if (!copied && !wrapped && !index->now_too) return true;
    }
    return array_scan(&index->now, 0, scan, &wrapped);
}

void table_index_scan(const struct table_index *index, uint64_t *cursor,
                      struct index_entry **entries, uint32_t entries_max, uint32_t *entry_count)
{
    /* As many hashes as should have two fifths of what fits; fewer where many keys crowd. */
    uint64_t positions = entries_max / 2;
    uint64_t span = positions > index->now.mask ? UINT64_MAX : (positions << index->now.shift) - 1;
    struct scan scan = {.first = *cursor, .entries = entries, .entries_max = entries_max};
    do { /* one hash has one key: this ends */
        scan.last = span > UINT64_MAX - scan.first ? UINT64_MAX : scan.first + span;
        span /= 2;
    } while (!scan_range(index, &scan));
    *cursor = scan.last + 1;
    *entry_count = scan.count;
}
