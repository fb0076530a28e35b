#include "ps/table_rows.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ps/initializer.h"
#include "ps/row_codec.h"
#include "ps/table_spec.h"

#define NS_PER_USE_UNIT UINT64_C(10000000)
#define USE_UNITS_PER_S 100u
/* An eviction looks at about 30 rows in a few places and takes the worst: that comes close to the
 * true order. Rows of one place alone would be used up sooner than others. */
#define SAMPLE_PLACES 4u
#define PLACE_ENTRIES 32u
/* The sweep goes round once in so many ticks, or pushes, whichever is sooner. */
#define SWEEP_TICKS      256u
#define SWEEP_PUSHES     (UINT32_C(1) << 28)
#define SCAN_ENTRIES     256u
#define DELETED_KEYS_MIN 1024u

_Static_assert(TABLE_ADMIT_MAX <= ADMISSION_SIGHTINGS_MAX, "a key can be seen so often");

enum status table_rows_init(struct table_rows *rows, const Anthill__TableSpec *spec)
{
    *rows = (struct table_rows){.spec = spec, .dim = spec->dim, .stamp = 1, .swept_stamp = 1};
    rows->optimizer = optimizer_make(spec->optimizer);
    rows->state_floats = optimizer_state_floats(&rows->optimizer, spec->dim);
    rows->narrow = spec->storage == ANTHILL__STORAGE_KIND__STORAGE_BF16;
    rows->value_words = rows->narrow ? (spec->dim + 1) / 2 : spec->dim;
    rows->tracks_use = spec->evict != ANTHILL__EVICT_KIND__EVICT_NONE || spec->evict_seconds != 0;
    row_store_init(&rows->store, rows->value_words + rows->state_floats, rows->tracks_use);
    rows->stored = malloc((spec->dim + (size_t)rows->state_floats) * sizeof *rows->stored);
    enum status status = rows->stored == NULL ? STATUS_NOMEM : table_index_init(&rows->index);
    if (status == STATUS_OK && spec->admit_after > 1) status = admission_init(&rows->admission);
    return status;
}

void table_rows_deinit(struct table_rows *rows)
{
    table_index_deinit(&rows->index);
    row_store_deinit(&rows->store);
    admission_deinit(&rows->admission);
    free(rows->cut.deleted);
    free(rows->deleted.keys);
    free(rows->stored);
}

uint64_t table_rows_bytes(const struct table_rows *rows)
{
    return row_store_bytes(&rows->store, rows->store.count) + table_index_bytes(&rows->index) +
           admission_bytes(&rows->admission);
}

void table_rows_initial(const struct table_rows *rows, uint64_t key, float *values)
{
    const Anthill__TableSpec *spec = rows->spec;
    initializer_fill(spec->init, spec->init_scale, rng_key(spec->seed, key), 0, values, rows->dim);
    if (!rows->narrow) return;
    for (uint32_t i = 0; i < rows->dim; i++) {
        uint16_t narrowed;
        bf16_narrow(&values[i], &narrowed, 1);
        bf16_widen(&narrowed, &values[i], 1);
    }
}

void table_rows_store(const struct table_rows *rows, const float *row, float *stored)
{
    if (rows->narrow) {
        bf16_widen((const uint16_t *)(const void *)row, stored, rows->dim);
    } else {
        memcpy(stored, row, rows->dim * sizeof *stored);
    }
    memcpy(stored + rows->dim, row + rows->value_words, rows->state_floats * sizeof *stored);
}

void table_rows_load(const struct table_rows *rows, const float_unaligned *stored, float *row)
{
    if (rows->narrow) {
        bf16_narrow(stored, (uint16_t *)(void *)row, rows->dim);
    } else {
        memcpy(row, stored, rows->dim * sizeof *row);
    }
    memcpy(row + rows->value_words, stored + rows->dim, rows->state_floats * sizeof *row);
}

/* ---- creation and eviction ------------------------------------------------------------------ */

/* True when `more` rows would break a limit; `index_bytes` is the index's memory then. */
static bool exceeds(const struct table_rows *rows, uint64_t more, uint64_t index_bytes)
{
    const Anthill__TableSpec *spec = rows->spec;
    uint64_t count = rows->store.count + more;
    if (spec->rows_max != 0 && count > spec->rows_max) return true;
    uint64_t bytes = row_store_bytes(&rows->store, count) + index_bytes;
    return spec->bytes_max != 0 && bytes + admission_bytes(&rows->admission) > spec->bytes_max;
}

static bool is_full(const struct table_rows *rows)
{
    return !rows->unlimited && exceeds(rows, 1, table_index_bytes_next(&rows->index));
}

bool table_rows_reserve(struct table_rows *rows, uint32_t count)
{
    uint64_t index_bytes = 4 * table_index_bytes(&rows->index);
    return !exceeds(rows, count, index_bytes + 4 * sizeof(struct index_entry) * (uint64_t)count) &&
           row_store_reserve(&rows->store, count) == STATUS_OK &&
           table_index_reserve(&rows->index, count) == STATUS_OK;
}

/* The worst of a sample; NULL when none may go. Scores of the sample fade: by half while about a
 * third of the table is replaced. */
static struct index_entry *choose_victim(struct table_rows *rows, struct index_entry **entries,
                                         uint32_t entry_count, bool in_push)
{
    bool score = rows->spec->evict == ANTHILL__EVICT_KIND__EVICT_SCORE;
    struct index_entry *victim = NULL;
    uint32_t worst = 0;
    for (uint32_t i = 0; i < entry_count; i++) {
        struct index_entry *entry = entries[i];
        if (in_push && entry->version == rows->stamp) continue;
        uint32_t *use = row_store_use(&rows->store, entry->row_plus_one - 1);
        uint32_t badness = score ? UINT32_MAX - *use : rows->now - *use;
        if (score) *use -= *use / 16 + (*use > 0);
        if (victim != NULL && badness <= worst) continue;
        victim = entry;
        worst = badness;
    }
    return victim;
}

/* Rows from anywhere; where that finds none, the next ones in the order of the sweep. */
static uint32_t take_sample(struct table_rows *rows, bool in_turn, struct index_entry **entries)
{
    uint32_t count = 0;
    for (uint32_t place = 0; place < SAMPLE_PLACES; place++) {
        uint32_t more = 0;
        uint64_t cursor = in_turn ? rows->sweep_cursor : rng_mix(++rows->eviction_serial);
        table_index_scan(&rows->index, &cursor, entries + count, PLACE_ENTRIES, &more);
        if (in_turn) rows->sweep_cursor = cursor;
        count += more;
    }
    return count;
}

static bool evict_one(struct table_rows *rows, bool in_push)
{
    /* Samples in turn, every other one, go round at least once before it is given up: that is for
     * pushes of nearly all rows. */
    uint64_t tries = 8 * (rows->index.now.mask + 1) / (SAMPLE_PLACES * PLACE_ENTRIES);
    for (uint64_t i = 0; i < tries; i++) {
        struct index_entry *entries[SAMPLE_PLACES * PLACE_ENTRIES];
        uint32_t entry_count = take_sample(rows, i % 2 == 1, entries);
        struct index_entry *victim = choose_victim(rows, entries, entry_count, in_push);
        if (victim == NULL) continue;
        table_rows_remove(rows, victim);
        if (!in_push) table_rows_next_stamp(rows);
        rows->stats.evicted++;
        return true;
    }
    return false;
}

static enum status refuse(struct table_rows *rows, uint64_t key, struct error *error)
{
    const Anthill__TableSpec *spec = rows->spec;
    rows->stats.refused++;
    if (spec->rows_max != 0 && rows->store.count >= spec->rows_max) {
        return error_set(error, STATUS_NOMEM,
                         "table \"%s\": key %" PRIu64 " has no room: rows_max %" PRIu64
                         " rows of a shard exist",
                         spec->name, key, spec->rows_max);
    }
    return error_set(error, STATUS_NOMEM,
                     "table \"%s\": key %" PRIu64 " has no room: %" PRIu64
                     " rows use bytes_max %" PRIu64 " bytes of a shard",
                     spec->name, key, rows->store.count, spec->bytes_max);
}

enum status table_rows_create(struct table_rows *rows, uint64_t key, bool blank, bool in_push,
                              float **row, struct error *error)
{
    const Anthill__TableSpec *spec = rows->spec;
    while (is_full(rows)) {
        bool evicts = spec->evict != ANTHILL__EVICT_KIND__EVICT_NONE;
        if (!evicts || !evict_one(rows, in_push)) return refuse(rows, key, error);
    }
    uint32_t number = row_store_add(&rows->store);
    enum status status = number == ROW_NONE ? STATUS_NOMEM : STATUS_OK;
    if (status == STATUS_OK) {
        status = table_index_add(&rows->index, key, number, rows->stamp);
        if (status != STATUS_OK) row_store_remove(&rows->store, number);
    }
    if (status != STATUS_OK) {
        rows->stats.refused++;
        return error_set(error, STATUS_NOMEM,
                         "table \"%s\": no memory for key %" PRIu64 " after %" PRIu64 " rows",
                         spec->name, key, rows->store.count);
    }
    rows->stats.created++;
    *row = row_store_at(&rows->store, number);
    if (rows->tracks_use) {
        bool score = spec->evict == ANTHILL__EVICT_KIND__EVICT_SCORE;
        *row_store_use(&rows->store, number) = score ? 1 : rows->now;
    }
    /* Rows that a push creates are stepped at once, and blank ones filled by the caller. */
    table_rows_happened(rows, key, *row, blank || in_push ? ROW_CHANGED : ROW_CREATED);
    if (blank) return STATUS_OK;
    if (rows->narrow) {
        table_rows_initial(rows, key, rows->stored);
        bf16_narrow(rows->stored, (uint16_t *)(void *)*row, rows->dim);
    } else {
        table_rows_initial(rows, key, *row);
    }
    return STATUS_OK;
}

/* ---- removal -------------------------------------------------------------------------------- */

/* Cuts need to know; a list that is longer than the rows are many is not worth it. */
static void note_deleted(struct table_rows *rows, uint64_t key)
{
    struct deleted_keys *deleted = &rows->deleted;
    if (!rows->cut.has_last && !rows->cut.active) return;
    if (deleted->count == deleted->capacity) {
        uint64_t capacity = deleted->capacity == 0 ? DELETED_KEYS_MIN : deleted->capacity * 2;
        bool worth = capacity <= DELETED_KEYS_MIN || capacity / 2 < rows->store.count;
        uint64_t *keys = worth ? realloc(deleted->keys, capacity * sizeof *keys) : NULL;
        if (keys == NULL) {
            rows->cut.has_last = false;
            if (rows->cut.active) rows->cut.full_next = true;
            deleted->count = 0;
            return;
        }
        deleted->keys = keys;
        deleted->capacity = capacity;
    }
    deleted->keys[deleted->count++] = key;
}

void table_rows_remove(struct table_rows *rows, struct index_entry *entry)
{
    table_rows_will_change(rows, entry);
    note_deleted(rows, entry->key);
    table_rows_happened(rows, entry->key, NULL, ROW_REMOVED);
    row_store_remove(&rows->store, entry->row_plus_one - 1);
    table_index_remove(&rows->index, entry);
}

/* Looks at one entry of the sweep; true: its row has been unused for too long. */
static bool sweep_entry(struct table_rows *rows, struct index_entry *entry)
{
    uint32_t seconds = rows->spec->evict_seconds;
    if (rows->stamp - entry->version > VERSION_LAG_MAX) {
        entry->version = rows->stamp - VERSION_LAG_MAX;
        if (entry->version == 0) entry->version = 1; /* 0 is none */
    }
    if (seconds == 0) return false;
    uint64_t unused = rows->now - *row_store_use(&rows->store, entry->row_plus_one - 1);
    return unused > (uint64_t)seconds * USE_UNITS_PER_S;
}

static void sweep_some(struct table_rows *rows)
{
    struct index_entry *entries[SCAN_ENTRIES];
    uint64_t keys[SCAN_ENTRIES];
    uint32_t entry_count = 0, key_count = 0;
    table_index_scan(&rows->index, &rows->sweep_cursor, entries, SCAN_ENTRIES, &entry_count);
    for (uint32_t i = 0; rows->tracks_use && i < entry_count; i++)
        __builtin_prefetch(row_store_use(&rows->store, entries[i]->row_plus_one - 1), 0, 2);
    for (uint32_t i = 0; i < entry_count; i++) {
        if (sweep_entry(rows, entries[i])) keys[key_count++] = entries[i]->key;
    }
    if (key_count > 0) table_rows_next_stamp(rows);
    for (uint32_t i = 0; i < key_count; i++) { /* a removal moves other entries */
        struct index_entry *entry =
            table_index_find(&rows->index, keys[i], table_index_hash(keys[i]));
        table_rows_remove(rows, entry);
        rows->stats.expired++;
    }
}

void table_rows_set_copy(struct table_rows *rows, bool copy)
{
    rows->unlimited = copy;
    rows->begun_ns = 0; /* `now` goes on from where it is at the next tick */
}

void table_rows_tick(struct table_rows *rows, uint64_t now_ns)
{
    if (rows->begun_ns == 0) rows->begun_ns = now_ns - rows->now * NS_PER_USE_UNIT;
    rows->now = (uint32_t)((now_ns - rows->begun_ns) / NS_PER_USE_UNIT);
    uint64_t turns = (rows->index.now.mask + 1) / (SCAN_ENTRIES / 4) + 1;
    uint64_t pushes = rows->stamp - rows->swept_stamp;
    uint64_t due = turns * pushes / SWEEP_PUSHES;
    if (due > 0) rows->swept_stamp = rows->stamp;
    if (rows->spec->evict_seconds != 0 && due < turns / SWEEP_TICKS + 1) {
        due = turns / SWEEP_TICKS + 1;
    }
    for (uint64_t i = 0; i < due; i++)
        sweep_some(rows);
}

/* ---- cuts ----------------------------------------------------------------------------------- */

void table_rows_hand_over(struct table_rows *rows, const struct index_entry *entry)
{
    const struct row_sink *sink = &rows->cut.sink;
    const float *row = table_rows_at(rows, entry);
    if (rows->narrow) {
        table_rows_store(rows, row, rows->stored);
        row = rows->stored;
    }
    sink->put(sink->context, entry->key, row, rows->dim + rows->state_floats);
}

void table_rows_cut_begin(struct table_rows *rows, bool *full, const struct row_sink *sink,
                          const uint64_t **deleted, uint64_t *deleted_count)
{
    struct table_cut *cut = &rows->cut;
    *full = *full || !cut->has_last || rows->stamp - cut->last_stamp > VERSION_LAG_MAX;
    *deleted = NULL;
    *deleted_count = 0;
    if (!*full) {
        cut->deleted = rows->deleted.keys;
        *deleted = cut->deleted;
        *deleted_count = rows->deleted.count;
        rows->deleted = (struct deleted_keys){0};
    }
    rows->deleted.count = 0;
    cut->active = true;
    cut->full = *full;
    cut->full_next = false;
    cut->stamp = rows->stamp;
    cut->cursor = 0;
    cut->sink = *sink;
    table_rows_next_stamp(rows); /* rows that appear from here on are none of the cut's */
}

static void cut_end(struct table_rows *rows, bool has_last)
{
    struct table_cut *cut = &rows->cut;
    cut->active = false;
    cut->last_stamp = cut->stamp;
    cut->has_last = has_last && !cut->full_next;
    free(cut->deleted);
    cut->deleted = NULL;
}

bool table_rows_cut_step(struct table_rows *rows, uint32_t count)
{
    struct table_cut *cut = &rows->cut;
    uint32_t handed = 0;
    for (uint64_t looked = 0; handed < count && looked < 16 * (uint64_t)count;) {
        struct index_entry *entries[SCAN_ENTRIES];
        uint32_t entry_count = 0, wanted = 0;
        uint64_t next = cut->cursor;
        table_index_scan(&rows->index, &next, entries, SCAN_ENTRIES, &entry_count);
        for (uint32_t i = 0; i < entry_count; i++) {
            if (!table_rows_cut_wants(rows, entries[i])) continue;
            entries[wanted++] = entries[i];
            __builtin_prefetch(table_rows_at(rows, entries[i]), 0, 2);
        }
        for (uint32_t i = 0; i < wanted; i++)
            table_rows_hand_over(rows, entries[i]);
        handed += wanted;
        looked += SCAN_ENTRIES / 2;
        cut->cursor = next;
        if (next != 0) continue;
        cut_end(rows, true);
        return true;
    }
    return false;
}

void table_rows_cut_abandon(struct table_rows *rows)
{
    if (rows->cut.active) cut_end(rows, false);
    rows->cut.has_last = false;
}
