/* The rows of a sparse table from their creation to their end: admission, limits, eviction, expiry,
 * deletion, and cuts. For ps/table_sparse and ps/table only; contracts stand in table.h. Pure.
 *
 * An entry's version is the number of the push that last changed the row, and one number serves
 * three ends: a client's copy is compared with it; rows whose version is the present stamp are
 * those of this push, and are not evicted; and a cut takes the rows that are newer than the cut
 * before. `stamp` counts pushes, and removals and cuts too. Comparisons are of differences, so that
 * stamps may wrap: the sweep (table_rows_tick) raises versions that fall behind by a quarter of the
 * range. No stamp and no version is 0. */
#ifndef ANTHILL_PS_TABLE_ROWS_H
#define ANTHILL_PS_TABLE_ROWS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/wire.pb-c.h"
#include "ps/admission.h"
#include "ps/optimizer.h"
#include "ps/row_store.h"
#include "ps/table.h"
#include "ps/table_index.h"

/* Versions are kept within this distance of the stamp, and copies beyond it are out of date. */
#define VERSION_LAG_MAX (UINT32_C(1) << 30)

/* The cut that is being taken, and what the next one needs. */
struct table_cut {
    bool active, full;
    uint32_t stamp;      /* rows with a later version changed since it began */
    uint32_t last_stamp; /* of the cut before; */
    bool has_last;       /* false: the next cut is full */
    bool full_next;      /* deletions since it began were too many to note */
    uint64_t cursor;     /* rows whose hash is smaller are handed over */
    struct row_sink sink;
    uint64_t *deleted; /* of this cut */
};

/* Keys deleted since the last cut began. */
struct deleted_keys {
    uint64_t *keys;
    uint64_t count, capacity;
};

struct table_rows {
    const Anthill__TableSpec *spec; /* borrowed */
    struct optimizer optimizer;
    uint32_t dim;
    uint32_t value_words; /* of 4 bytes: where a row's optimizer state begins */
    uint32_t state_floats;
    bool narrow; /* values are bf16 */
    bool tracks_use;
    bool unlimited; /* see table_set_copy */
    struct table_index index;
    struct row_store store;
    struct admission admission;
    uint32_t stamp;
    uint64_t begun_ns; /* the first tick; rows that were restored before count as used then */
    uint32_t now;      /* time of uses, in units of 10 ms since */
    uint64_t eviction_serial, sweep_cursor;
    uint32_t swept_stamp; /* when the sweep last began */
    struct table_stats stats;
    struct table_cut cut;
    struct deleted_keys deleted;
    struct row_events *events; /* NULL: nobody watches */
    float *stored;             /* [dim + state_floats] scratch */
};

/*   errors   STATUS_NOMEM */
enum status table_rows_init(struct table_rows *rows, const Anthill__TableSpec *spec) MUST_CHECK;
void table_rows_deinit(struct table_rows *rows);

uint64_t table_rows_bytes(const struct table_rows *rows);

/* First values of `key` as f32, as they read back from a row. */
void table_rows_initial(const struct table_rows *rows, uint64_t key, float *values);

/* A new row under `key`, which is not there, with state of zeros and, unless `blank`, its initial
 * values. Evicts where the table is full and its spec says so; `in_push`: none of the rows of the
 * present push.
 *   errors   STATUS_NOMEM */
enum status table_rows_create(struct table_rows *rows, uint64_t key, bool blank, bool in_push,
                              float **row, struct error *error) MUST_CHECK;

/* True when so many rows can be created without an error and without an eviction. */
bool table_rows_reserve(struct table_rows *rows, uint32_t count);

/* Removes the row of an entry. A row that appears later under its key has to have a later version
 * than any copy of this one: begin a stamp, but within a push. */
void table_rows_remove(struct table_rows *rows, struct index_entry *entry);

/* See table_set_copy. */
void table_rows_set_copy(struct table_rows *rows, bool copy);
void table_rows_tick(struct table_rows *rows, uint64_t now_ns);

void table_rows_cut_begin(struct table_rows *rows, bool *full, const struct row_sink *sink,
                          const uint64_t **deleted, uint64_t *deleted_count);
bool table_rows_cut_step(struct table_rows *rows, uint32_t count);
void table_rows_cut_abandon(struct table_rows *rows);

/* The stored form of a row, and back. */
void table_rows_store(const struct table_rows *rows, const float *row, float *stored);
void table_rows_load(const struct table_rows *rows, const float_unaligned *stored, float *row);

/* True when version a is later than b. */
static inline bool version_newer(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) > 0;
}

static inline float *table_rows_at(const struct table_rows *rows, const struct index_entry *entry)
{
    return row_store_at(&rows->store, entry->row_plus_one - 1);
}

/* The number of the push, assignment, removal or cut that begins. */
static inline void table_rows_next_stamp(struct table_rows *rows)
{
    if (++rows->stamp == 0) rows->stamp = 1;
}

/* The row of an entry is used. */
static inline void table_rows_used(struct table_rows *rows, const struct index_entry *entry)
{
    if (!rows->tracks_use) return;
    uint32_t *use = row_store_use(&rows->store, entry->row_plus_one - 1);
    if (rows->spec->evict != ANTHILL__EVICT_KIND__EVICT_SCORE) {
        *use = rows->now;
    } else if (*use < UINT32_MAX) {
        ++*use;
    }
}

/* The row belongs to the cut and is not handed over yet. */
static inline bool table_rows_cut_wants(const struct table_rows *rows,
                                        const struct index_entry *entry)
{
    const struct table_cut *cut = &rows->cut;
    return cut->active && !version_newer(entry->version, cut->stamp) &&
           (cut->full || version_newer(entry->version, cut->last_stamp)) &&
           table_index_hash(entry->key) >= cut->cursor;
}

void table_rows_hand_over(struct table_rows *rows, const struct index_entry *entry);

static inline void table_rows_happened(struct table_rows *rows, uint64_t key, const float *row,
                                       enum row_event_kind kind)
{
    if (__builtin_expect(rows->events != NULL, 0)) row_events_add(rows->events, key, row, kind);
}

/* Call before the row changes or goes. */
static inline void table_rows_will_change(struct table_rows *rows, const struct index_entry *entry)
{
    if (__builtin_expect(rows->cut.active, 0) && table_rows_cut_wants(rows, entry)) {
        table_rows_hand_over(rows, entry);
    }
}

#endif
