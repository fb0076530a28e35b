/* A table of rows behind one interface, sparse (ps/table_sparse) or dense (ps/table_dense): batches
 * of keys are pulled and pushed, rows appear with their initial value, the optimizer runs here.
 * Does not know sessions, clocks or shards. Pure.
 * thread: the shard's own. */
#ifndef ANTHILL_PS_TABLE_H
#define ANTHILL_PS_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/wire.pb-c.h"
#include "ps/unaligned.h"

struct table;

/*   spec     borrowed; copied
 *   errors   STATUS_CONFIG (table_spec_check), STATUS_NOMEM
 *   owner    returns owned; table_destroy */
enum status table_create(struct table **table, const Anthill__TableSpec *spec,
                         struct error *error) MUST_CHECK;
void table_destroy(struct table *table);

const Anthill__TableSpec *table_spec(const struct table *table);
uint64_t table_row_count(const struct table *table);
/* Memory of rows, their flags and versions, and the index. */
uint64_t table_bytes(const struct table *table);

/* Counts since the table was created. Rows that are there: created - evicted - expired - deleted.
 */
struct table_stats {
    uint64_t rows, bytes;
    uint64_t created;    /* by a pull, a push, an assignment or a restore */
    uint64_t evicted;    /* to make room */
    uint64_t expired;    /* unused for evict_seconds */
    uint64_t deleted;    /* by request */
    uint64_t refused;    /* requests for rows that had no room */
    uint64_t sighted;    /* sightings of keys that are not admitted yet */
    uint64_t not_finite; /* pushes refused because of a NaN or an infinity */
};
void table_stats(const struct table *table, struct table_stats *stats);

/* Floats of the rows of keys[key_count] together.
 *   errors   STATUS_INVALID for a key that a dense table does not have */
enum status table_floats(const struct table *table, const uint64_unaligned *keys,
                         uint32_t key_count, uint64_t *floats, struct error *error) MUST_CHECK;

/* Where pulled rows go: row i to place i, or to place positions[i] (sparse tables; anything the
 * caller has room for). A place is row_codec_bytes of the encoding long. */
struct row_target {
    void *rows;
    const uint32_t *positions; /* NULL: i */
    Anthill__Encoding encoding;
};

/* Where pushed gradients come from, in the same way. */
struct row_source {
    const void *rows;
    const uint32_t *positions;
    Anthill__Encoding encoding;
};

/* Copies the values of `keys` to `target`, creating missing rows; with `read_only`, or where a key
 * is not admitted yet, a missing row's initial value is copied and no row appears. The keys were
 * checked by table_floats.
 *   errors   STATUS_NOMEM when rows_max or bytes_max is reached and nothing may be evicted, or
 *            memory is used up, with the table's name; other rows are valid */
enum status table_pull_to(struct table *table, const uint64_unaligned *keys, uint32_t key_count,
                          const struct row_target *target, bool read_only,
                          struct error *error) MUST_CHECK;

/* The same for a caller that has copies (versioned tables): held[i] is the version of its copy of
 * keys[i], 0: none. A version is the number of the table's last push when the row was copied. Rows
 * whose last change is at most `behind` pushes after the copy are left out; the others are copied,
 * one after the other to *sent places of target->rows (positions are not used), and versions[i] is
 * the new version; 0: left out. So what the caller has lacks at most `behind` pushes. (Removals
 * have numbers, too.) A key without a row is always sent. The rest is as in table_pull_to. */
enum status table_pull_newer(struct table *table, const uint64_unaligned *keys, uint32_t key_count,
                             const void *held, uint32_t behind, const struct row_target *target,
                             bool read_only, uint32_t *versions, uint32_t *sent,
                             struct error *error) MUST_CHECK;

/* One step of the optimizer for each row of `keys` along its gradient; gradients of a key that
 * stands twice are summed first. Where keys are admitted after sightings, which pulls are, a
 * gradient without a row is dropped. The keys were checked by table_floats.
 *   units    clock: for the learning-rate schedule
 *   errors   STATUS_INVALID when a gradient is NaN or infinite, with the table's name (dense: and
 *            the tensor's); STATUS_NOMEM as table_pull_to; nothing is applied then, but rows may
 *            have appeared, and others been evicted for them */
enum status table_push_from(struct table *table, const uint64_unaligned *keys, uint32_t key_count,
                            const struct row_source *source, float rate_scale, uint64_t clock,
                            struct error *error) MUST_CHECK;

/* Rows and gradients as f32, one after the other.
 *   shapes   keys[key_count], values[table_floats] */
static inline enum status table_pull(struct table *table, const uint64_unaligned *keys,
                                     uint32_t key_count, float *values, bool read_only,
                                     struct error *error)
{
    const struct row_target target = {.rows = values};
    return table_pull_to(table, keys, key_count, &target, read_only, error);
}

static inline enum status table_push(struct table *table, const uint64_unaligned *keys,
                                     uint32_t key_count, const float_unaligned *grads,
                                     float rate_scale, struct error *error)
{
    const struct row_source source = {.rows = grads};
    return table_push_from(table, keys, key_count, &source, rate_scale, 0, error);
}

/* Fails as table_push would and creates the rows that are missing, without a step: what passed can
 * be summed up and pushed later. Until then rows may be evicted, expire and be deleted. */
enum status table_push_prepare(struct table *table, const uint64_unaligned *keys,
                               uint32_t key_count, const float_unaligned *grads,
                               struct error *error) MUST_CHECK;

/* Sparse tables: rows get these values and the state of new rows; missing ones are created, whether
 * their keys are admitted or not.
 *   shapes   keys[key_count], values[key_count, dim]
 *   errors   STATUS_INVALID for a NaN or an infinity, STATUS_NOMEM; nothing is set then */
enum status table_assign(struct table *table, const uint64_unaligned *keys, uint32_t key_count,
                         const float_unaligned *values, struct error *error) MUST_CHECK;

/* Sparse tables: removes the rows of `keys` that are there; returns how many. */
uint32_t table_delete(struct table *table, const uint64_unaligned *keys, uint32_t key_count);

/* Puts keys from `cursor` on (0: from the first) into keys[keys_max], in the order of their hashes,
 * and returns the cursor to go on with; 0: these were the last. A row that is there all the while
 * is listed once, whatever comes and goes. Looks at no more than 16 times as many places: there may
 * be few keys, or none, before the last. keys_max >= 64. */
uint64_t table_scan(const struct table *table, uint64_t cursor, uint64_t *keys, uint32_t keys_max,
                    uint32_t *count);

/* Time passes: removes a bounded number of rows that have not been used for evict_seconds. Call
 * about once a second, and before the first request. */
void table_tick(struct table *table, uint64_t now_ns);

/* A row's stored form is f32 whatever the table stores: values, then optimizer state. */
uint32_t table_stored_floats(const struct table *table, uint64_t key);
/* Copies the row of `key` to stored[table_stored_floats]; false when it is not there. */
bool table_stored(const struct table *table, uint64_t key, float *stored);
/* Creates the row `key`, or with `replace` overwrites it.
 *   shapes   stored[table_stored_floats]
 *   errors   STATUS_CORRUPT when the key is there (without `replace`), or is none of a dense table;
 *            STATUS_NOMEM */
enum status table_restore_row(struct table *table, uint64_t key, const float_unaligned *stored,
                              bool replace, struct error *error) MUST_CHECK;

/* Sends for what a search for `key` looks at first. */
void table_prefetch(const struct table *table, uint64_t key);

/* Creates the row of `key` with its initial value unless it is there, admitted or not.
 *   errors   as table_pull_to; the key was checked by table_floats */
enum status table_create_row(struct table *table, uint64_t key, struct error *error) MUST_CHECK;

/* ---- events: what a copy of the table on another server needs ---------------------------------
 */

enum row_event_kind {
    ROW_CREATED, /* by a pull: it has its initial value */
    ROW_CHANGED, /* by a push, an assignment or a restore; it may be new */
    ROW_REMOVED, /* evicted, expired or deleted */
};

struct row_event {
    uint64_t key;
    const float *row; /* for table_event_stored */
    enum row_event_kind kind;
};

/* Zero-initialised is empty. */
struct row_events {
    struct row_event *items; /* in the order in which they happened */
    uint32_t count, capacity;
};

/* What happens to rows from here on is appended to `events` (borrowed, until the next call; NULL:
 * no longer). Memory that is used up ends the process. */
void table_watch(struct table *table, struct row_events *events);

/* The row of an event that is no removal, as it is now: stored[table_stored_floats]. When the row
 * was removed since, which a later event says, it is that of any other, or of none. */
void table_event_stored(const struct table *table, const struct row_event *event, float *stored);

/* As table_scan, but appends an event ROW_CHANGED for each row that it finds. */
uint64_t table_scan_rows(const struct table *table, uint64_t cursor, struct row_events *events,
                         uint32_t rows_max);

/* A copy takes every row that it is given: rows_max and bytes_max are its primary's to keep. It
 * does not know who reads its rows, so that its time stands still: rows grow no older before the
 * first table_tick of a table that is none any more. */
void table_set_copy(struct table *table, bool copy);

void row_events_add(struct row_events *events, uint64_t key, const float *row,
                    enum row_event_kind kind);
void row_events_deinit(struct row_events *events);

/* ---- cuts: what a checkpoint writes ----------------------------------------------------------
 * A cut is the set of rows as they are when it begins: all, or those changed, created or deleted
 * since the cut before. They are handed to `put` a few at a time while the table goes on being
 * used: a row that is about to change, or to be removed, is handed over first. */

struct row_sink {
    void *context;
    /* stored[floats] is borrowed for the call. */
    void (*put)(void *context, uint64_t key, const float *stored, uint32_t floats);
};

/* Begins a cut; there may be one at a time. It is of all rows where *full asks for that, when it is
 * the first, and after many deletions: *full says so then. Rows deleted since the cut before are
 * deleted[*deleted_count], borrowed until the cut ends. */
void table_cut_begin(struct table *table, bool *full, const struct row_sink *sink,
                     const uint64_t **deleted, uint64_t *deleted_count);
/* Hands over about `rows` rows (looks at no more than 16 times as many keys); true: it was the last
 * of the cut's rows, and the cut has ended. */
bool table_cut_step(struct table *table, uint32_t rows);
/* The cut is of no use, whether it has ended or not: the next one is of all rows. */
void table_cut_abandon(struct table *table);

#endif
