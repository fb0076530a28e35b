#include "ps/table_sparse.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "ps/row_codec.h"

#define ENTRY_AHEAD 48u
#define ROW_AHEAD   24u
#define RING        64u /* a power of two above both */
#define BLOCK       16u /* rows of a push that are stepped together */
#define LINE_FLOATS 16u
/* The processor's own prefetcher follows longer rows. */
#define LINES_AHEAD_MAX 32u

enum status table_sparse_init(struct table_sparse *table, const Anthill__TableSpec *spec)
{
    *table = (struct table_sparse){0};
    table->values = malloc((size_t)BLOCK * spec->dim * sizeof *table->values);
    enum status status = table_rows_init(&table->rows, spec);
    return table->values == NULL ? STATUS_NOMEM : status;
}

void table_sparse_deinit(struct table_sparse *table)
{
    table_rows_deinit(&table->rows);
    free(table->missing);
    free(table->values);
}

/* Cache lines of a row that are sent for. */
static uint32_t lines_ahead(uint32_t floats)
{
    uint32_t lines = (floats + LINE_FLOATS - 1) / LINE_FLOATS;
    return lines < LINES_AHEAD_MAX ? lines : LINES_AHEAD_MAX;
}

/* By four: what stands between two prefetches delays the next row. */
static inline void prefetch_row(const float *row, uint32_t lines)
{
    for (; lines >= 4; lines -= 4, row += 4 * LINE_FLOATS) {
        __builtin_prefetch(row, 0, 2);
        __builtin_prefetch(row + LINE_FLOATS, 0, 2);
        __builtin_prefetch(row + 2 * LINE_FLOATS, 0, 2);
        __builtin_prefetch(row + 3 * LINE_FLOATS, 0, 2);
    }
    for (; lines > 0; lines--, row += LINE_FLOATS)
        __builtin_prefetch(row, 0, 2);
}

/* Rows are short: a call of memcpy, or a turn of a loop that the processor does not foresee, costs
 * as much as a few lines. */
static inline void copy_row(uint8_t *to, const uint8_t *from, size_t bytes)
{
    for (; bytes >= 256; bytes -= 256, to += 256, from += 256)
        memcpy(to, from, 256);
    for (; bytes >= 64; bytes -= 64, to += 64, from += 64)
        memcpy(to, from, 64);
    if (bytes != 0) memcpy(to, from, bytes);
}

/* Starts a request: forgets which keys were missing, and does work on a growing index that a
 * request of so many keys owes (see table_index_move): so much that the old array is copied before
 * those keys fill it. */
static enum status begin(struct table_sparse *table, uint32_t key_count, struct error *error)
{
    table_index_move(&table->rows.index, 1024 + 16 * (uint64_t)key_count);
    table->missing_count = 0;
    if (key_count <= table->missing_capacity) return STATUS_OK;
    free(table->missing);
    table->missing = malloc(key_count * sizeof *table->missing);
    table->missing_capacity = table->missing != NULL ? key_count : 0;
    if (table->missing != NULL) return STATUS_OK;
    return error_set(error, STATUS_NOMEM, "table \"%s\": no memory for a request of %u keys",
                     table->rows.spec->name, key_count);
}

/* The index entries of keys that are on their way from memory. */
struct pipeline {
    uint64_t hashes[RING];
};

static void pipeline_begin(struct pipeline *pipeline, const struct table_index *index,
                           const uint64_unaligned *keys, uint32_t key_count)
{
    for (uint32_t i = 0; i < ENTRY_AHEAD && i < key_count; i++) {
        pipeline->hashes[i % RING] = table_index_hash(keys[i]);
        table_index_prefetch(index, pipeline->hashes[i % RING]);
    }
}

/* The entry of keys[i], NULL when it is not there; sends for that of a later key. */
static inline struct index_entry *pipeline_find(struct pipeline *pipeline,
                                                const struct table_index *index,
                                                const uint64_unaligned *keys, uint32_t key_count,
                                                uint32_t i)
{
    uint32_t later = i + ENTRY_AHEAD;
    uint64_t hash = pipeline->hashes[i % RING];
    if (later < key_count) {
        uint64_t later_hash = pipeline->hashes[later % RING] = table_index_hash(keys[later]);
        table_index_prefetch(index, later_hash);
    }
    return table_index_find(index, keys[i], hash);
}

static struct index_entry *find(const struct table_sparse *table, uint64_t key)
{
    return table_index_find(&table->rows.index, key, table_index_hash(key));
}

/* ---- pull ----------------------------------------------------------------------------------- */

/* How rows become what is asked for. */
struct output {
    const struct row_target *target;
    size_t place_bytes;
    bool copies; /* rows are stored as they are sent */
};

static struct output output_make(const struct table_sparse *table, const struct row_target *target)
{
    Anthill__Encoding stored =
        table->rows.narrow ? ANTHILL__ENCODING__ENCODING_BF16 : ANTHILL__ENCODING__ENCODING_F32;
    return (struct output){.target = target,
                           .place_bytes = row_codec_bytes(target->encoding, table->rows.dim),
                           .copies = target->encoding == stored};
}

static inline void *output_at(const struct output *output, uint32_t i)
{
    const uint32_t *positions = output->target->positions;
    uint64_t place = positions != NULL ? positions[i] : i;
    return (uint8_t *)output->target->rows + place * output->place_bytes;
}

static inline void put_row(struct table_sparse *table, const struct output *output, uint32_t i,
                           const float *row)
{
    void *place = output_at(output, i);
    if (output->copies) {
        copy_row(place, (const uint8_t *)row, output->place_bytes);
    } else if (table->rows.narrow) {
        bf16_widen((const uint16_t *)(const void *)row, table->values, table->rows.dim);
        row_codec_encode(output->target->encoding, table->values, place, table->rows.dim);
    } else {
        row_codec_encode(output->target->encoding, row, place, table->rows.dim);
    }
}

static void put_initial(struct table_sparse *table, const struct output *output, uint32_t i,
                        uint64_t key)
{
    table_rows_initial(&table->rows, key, table->values);
    row_codec_encode(output->target->encoding, table->values, output_at(output, i),
                     table->rows.dim);
}

/* A key without a row is seen by a pull: true when it may have one. */
static bool admits(struct table_sparse *table, uint64_t key)
{
    uint32_t after = table->rows.spec->admit_after;
    if (after <= 1) return true;
    table->rows.stats.sighted++;
    return admission_sight(&table->rows.admission, table_index_hash(key)) >= after;
}

/* Answers a key that had no row; place `i` of the output. */
static enum status pull_missing(struct table_sparse *table, const struct output *output, uint32_t i,
                                uint64_t key, bool read_only, struct error *error)
{
    const struct index_entry *entry = read_only ? NULL : find(table, key); /* it may stand twice */
    float *row = entry != NULL ? table_rows_at(&table->rows, entry) : NULL;
    if (row == NULL && !read_only && admits(table, key)) {
        enum status status = table_rows_create(&table->rows, key, false, false, &row, error);
        if (status != STATUS_OK) return status;
    }
    if (row != NULL) {
        put_row(table, output, i, row);
    } else {
        put_initial(table, output, i, key);
    }
    return STATUS_OK;
}

/* Puts the rows that are there and notes which are missing. `bytes` is what a row has; `plain`:
 * rows are copied one after the other, and uses do not count. Compiled anew for each constant that
 * it is given: where a row's length is known its copy is a few instructions without a branch. */
__attribute__((always_inline)) static inline void
put_rows(struct table_sparse *table, const uint64_unaligned *keys, uint32_t key_count,
         const struct output *output, size_t bytes, bool plain)
{
    struct table_rows *rows = &table->rows;
    struct pipeline pipeline;
    const float *ring[RING];
    uint32_t lines = lines_ahead((uint32_t)(bytes / sizeof(float)));
    pipeline_begin(&pipeline, &rows->index, keys, key_count);
    for (uint32_t i = 0; i < key_count + ROW_AHEAD; i++) {
        if (i < key_count) {
            struct index_entry *entry = pipeline_find(&pipeline, &rows->index, keys, key_count, i);
            ring[i % RING] = NULL;
            if (entry != NULL) {
                const float *row = ring[i % RING] = table_rows_at(rows, entry);
                prefetch_row(row, lines);
                if (!plain) table_rows_used(rows, entry);
            } else {
                table->missing[table->missing_count++] = i;
            }
        }
        if (i < ROW_AHEAD || ring[(i - ROW_AHEAD) % RING] == NULL) continue;
        uint32_t j = i - ROW_AHEAD;
        if (plain) {
            copy_row((uint8_t *)output->target->rows + j * bytes, (const uint8_t *)ring[j % RING],
                     bytes);
        } else {
            put_row(table, output, j, ring[j % RING]);
        }
    }
}

enum status table_sparse_pull(struct table_sparse *table, const uint64_unaligned *keys,
                              uint32_t key_count, const struct row_target *target, bool read_only,
                              struct error *error)
{
    const struct output output = output_make(table, target);
    size_t bytes = table->rows.value_words * sizeof(float);
    bool plain = output.copies && target->positions == NULL && !table->rows.tracks_use;
    enum status status = begin(table, key_count, error);
    if (status != STATUS_OK) return status;
    if (plain && bytes == 256) {
        put_rows(table, keys, key_count, &output, 256, true);
    } else if (plain && bytes == 512) {
        put_rows(table, keys, key_count, &output, 512, true);
    } else {
        put_rows(table, keys, key_count, &output, bytes, false);
    }
    for (uint32_t m = 0; status == STATUS_OK && m < table->missing_count; m++) {
        uint32_t i = table->missing[m];
        status = pull_missing(table, &output, i, keys[i], read_only, error);
    }
    return status;
}

/* At most `behind` pushes lie between the copy and the last change of its row. */
static inline bool is_new_enough(const struct table_rows *rows, const struct index_entry *entry,
                                 uint32_t copy, uint32_t behind)
{
    if (!version_newer(entry->version, copy)) return rows->stamp - copy <= VERSION_LAG_MAX;
    return entry->version - copy <= behind;
}

enum status table_sparse_pull_newer(struct table_sparse *table, const uint64_unaligned *keys,
                                    uint32_t key_count, const void *held, uint32_t behind,
                                    const struct row_target *target, bool read_only,
                                    uint32_t *versions, uint32_t *sent, struct error *error)
{
    struct table_rows *rows = &table->rows;
    struct row_target in_turn = {.rows = target->rows, .encoding = target->encoding};
    const struct output output = output_make(table, &in_turn);
    struct pipeline pipeline;
    const float *ring[RING];
    uint32_t places[RING], lines = lines_ahead(rows->value_words);
    *sent = 0;
    enum status status = begin(table, key_count, error);
    if (status != STATUS_OK) return status;
    pipeline_begin(&pipeline, &rows->index, keys, key_count);
    for (uint32_t i = 0; i < key_count + ROW_AHEAD; i++) {
        if (i < key_count) {
            struct index_entry *entry = pipeline_find(&pipeline, &rows->index, keys, key_count, i);
            uint32_t copy;
            memcpy(&copy, (const uint8_t *)held + (size_t)i * sizeof copy, sizeof copy);
            ring[i % RING] = NULL;
            versions[i] = 0;
            if (entry != NULL) table_rows_used(rows, entry);
            if (entry != NULL && copy != 0 && is_new_enough(rows, entry, copy, behind)) {
                /* It is left out. */
            } else if (entry != NULL) {
                const float *row = ring[i % RING] = table_rows_at(rows, entry);
                prefetch_row(row, lines);
                places[i % RING] = (*sent)++;
                versions[i] = rows->stamp;
            } else {
                /* Its place has to be known when the others' are, so it is kept in versions[]. */
                versions[i] = (*sent)++;
                table->missing[table->missing_count++] = i;
            }
        }
        if (i < ROW_AHEAD || ring[(i - ROW_AHEAD) % RING] == NULL) continue;
        put_row(table, &output, places[(i - ROW_AHEAD) % RING], ring[(i - ROW_AHEAD) % RING]);
    }
    for (uint32_t m = 0; status == STATUS_OK && m < table->missing_count; m++) {
        uint32_t i = table->missing[m];
        status = pull_missing(table, &output, versions[i], keys[i], read_only, error);
        versions[i] = rows->stamp;
    }
    return status;
}

/* ---- push ----------------------------------------------------------------------------------- */

/* Looks at all of the push before anything changes, and begins its number. */
static enum status check_push(struct table_sparse *table, const uint64_unaligned *keys,
                              uint32_t key_count, const struct gradients *gradients,
                              struct push_batch *batch, struct error *error)
{
    const Anthill__TableSpec *spec = table->rows.spec;
    uint32_t bad = 0;
    enum status status = begin(table, key_count, error);
    if (status != STATUS_OK) return status;
    status = push_batch_begin(batch, keys, key_count, gradients, &bad);
    table_rows_next_stamp(&table->rows);
    if (status == STATUS_OK) return status;
    if (status != STATUS_INVALID) {
        return error_set(error, status, "table \"%s\": no memory for a push of %u keys", spec->name,
                         key_count);
    }
    table->rows.stats.not_finite++;
    return error_set(error, STATUS_INVALID,
                     "table \"%s\": the gradient of key %" PRIu64
                     " is NaN or infinite: push refused",
                     spec->name, keys[bad]);
}

/* The row of an entry is about to be changed by the present push. */
static inline float *row_to_change(struct table_rows *rows, struct index_entry *entry)
{
    table_rows_will_change(rows, entry);
    table_rows_used(rows, entry);
    entry->version = rows->stamp;
    float *row = table_rows_at(rows, entry);
    table_rows_happened(rows, entry->key, row, ROW_CHANGED);
    return row;
}

/* Pushes create rows only where every key may have one. */
static bool push_creates(const struct table_sparse *table)
{
    return table->rows.spec->admit_after <= 1;
}

/* One step on a row of bf16 values: they are widened, and rounded back up or down so that the mean
 * is right. */
static void step_narrow(struct table_sparse *table, uint64_t key, float *row,
                        const float_unaligned *gradient, float decay, float rate)
{
    const struct table_rows *rows = &table->rows;
    uint16_t *narrow = (uint16_t *)(void *)row;
    bf16_widen(narrow, rows->stored, rows->dim);
    optimizer_step(&rows->optimizer, rows->stored, row + rows->value_words, gradient, rows->dim,
                   decay, rate);
    bf16_narrow_stochastic(rows->stored, narrow, rows->dim,
                           rng_key(rows->spec->seed + rows->stamp, key));
}

/* Steps the rows of keys[count]; NULL rows are passed over. Keys follow those of the call before.
 */
static void step_block(struct table_sparse *table, const uint64_unaligned *keys, float *const *rows,
                       uint32_t first, uint32_t count, const struct gradients *gradients,
                       const struct push_batch *batch, struct push_cursor *cursor, float rate)
{
    struct table_rows *of = &table->rows;
    const float_unaligned *grads[BLOCK];
    float decay = of->spec->optimizer->weight_decay;
    for (uint32_t i = 0; i < count; i++) {
        if (rows[i] == NULL) continue;
        grads[i] = push_batch_gradient(batch, cursor, gradients, first + i,
                                       table->values + (size_t)i * of->dim);
        if (of->narrow) step_narrow(table, keys[first + i], rows[i], grads[i], decay, rate);
    }
    if (of->narrow) return;
    optimizer_step_rows(&of->optimizer, rows, grads, count, of->dim, decay, rate);
}

/* Where no row can fail to appear: while the rows of one block are stepped, those of the next are
 * on their way. `lines` is how many of a row are sent for (see put_rows for why it is a constant).
 */
__attribute__((always_inline)) static inline void
step_in_passing(struct table_sparse *table, const uint64_unaligned *keys, uint32_t key_count,
                const struct gradients *gradients, const struct push_batch *batch, float rate,
                uint32_t lines)
{
    struct table_rows *rows = &table->rows;
    struct pipeline pipeline;
    struct push_cursor found = {0}, stepped = {0};
    float *blocks[2][BLOCK];
    bool creates = push_creates(table);
    pipeline_begin(&pipeline, &rows->index, keys, key_count);
    for (uint64_t first = 0; first < key_count + (uint64_t)BLOCK; first += BLOCK) {
        float **block = blocks[first / BLOCK % 2], **before = blocks[(first / BLOCK + 1) % 2];
        for (uint32_t i = (uint32_t)first; i < key_count && i < first + BLOCK; i++) {
            struct index_entry *entry = pipeline_find(&pipeline, &rows->index, keys, key_count, i);
            float *row = NULL;
            if (push_batch_repeats(batch, &found, i)) {
                /* Its gradient is in the first one's sum. */
            } else if (entry != NULL) {
                row = row_to_change(rows, entry);
                prefetch_row(row, lines);
            } else if (creates) {
                enum status status = table_rows_create(rows, keys[i], false, true, &row, NULL);
                CHECK(status == STATUS_OK); /* reserved */
            }
            block[i - first] = row;
        }
        if (first == 0) continue;
        uint32_t begin = (uint32_t)first - BLOCK, left = key_count - begin;
        step_block(table, keys, before, begin, left < BLOCK ? left : BLOCK, gradients, batch,
                   &stepped, rate);
    }
}

static void push_at_once(struct table_sparse *table, const uint64_unaligned *keys,
                         uint32_t key_count, const struct gradients *gradients,
                         const struct push_batch *batch, float rate)
{
    uint32_t lines = lines_ahead(table->rows.store.floats);
    if (lines == 8) {
        step_in_passing(table, keys, key_count, gradients, batch, rate, 8);
    } else {
        step_in_passing(table, keys, key_count, gradients, batch, rate, lines);
    }
}

/* Finds the rows, and creates those that are missing once all others are known and safe from
 * eviction. batch->rows[i]: NULL for a repeat, and where there is none. */
static enum status find_rows(struct table_sparse *table, const uint64_unaligned *keys,
                             uint32_t key_count, struct push_batch *batch, struct error *error)
{
    struct table_rows *rows = &table->rows;
    struct pipeline pipeline;
    struct push_cursor cursor = {0};
    enum status status = push_batch_rows(batch, key_count);
    if (status != STATUS_OK) {
        return error_set(error, status, "table \"%s\": no memory for a push of %u keys",
                         rows->spec->name, key_count);
    }
    pipeline_begin(&pipeline, &rows->index, keys, key_count);
    for (uint32_t i = 0; i < key_count; i++) {
        struct index_entry *entry = pipeline_find(&pipeline, &rows->index, keys, key_count, i);
        batch->rows[i] = NULL;
        if (push_batch_repeats(batch, &cursor, i)) continue;
        if (entry != NULL) {
            batch->rows[i] = row_to_change(rows, entry);
        } else {
            table->missing[table->missing_count++] = i;
        }
    }
    for (uint32_t m = 0; push_creates(table) && m < table->missing_count; m++) {
        uint32_t i = table->missing[m];
        status = table_rows_create(rows, keys[i], false, true, &batch->rows[i], error);
        if (status != STATUS_OK) return status;
    }
    return STATUS_OK;
}

static void step_rows(struct table_sparse *table, const uint64_unaligned *keys, uint32_t key_count,
                      const struct gradients *gradients, const struct push_batch *batch, float rate)
{
    struct push_cursor cursor = {0};
    for (uint32_t first = 0; first < key_count; first += BLOCK) {
        uint32_t left = key_count - first;
        step_block(table, keys, batch->rows + first, first, left < BLOCK ? left : BLOCK, gradients,
                   batch, &cursor, rate);
    }
}

enum status table_sparse_push(struct table_sparse *table, const uint64_unaligned *keys,
                              uint32_t key_count, const struct gradients *gradients,
                              struct push_batch *batch, float rate, struct error *error)
{
    enum status status = check_push(table, keys, key_count, gradients, batch, error);
    if (status != STATUS_OK) return status;
    if (!push_creates(table) || table_rows_reserve(&table->rows, key_count)) {
        push_at_once(table, keys, key_count, gradients, batch, rate);
        return STATUS_OK;
    }
    status = find_rows(table, keys, key_count, batch, error);
    if (status == STATUS_OK) step_rows(table, keys, key_count, gradients, batch, rate);
    return status;
}

enum status table_sparse_prepare(struct table_sparse *table, const uint64_unaligned *keys,
                                 uint32_t key_count, const struct gradients *gradients,
                                 struct push_batch *batch, struct error *error)
{
    enum status status = check_push(table, keys, key_count, gradients, batch, error);
    return status == STATUS_OK ? find_rows(table, keys, key_count, batch, error) : status;
}

/* ---- assign, delete, scan, restore ---------------------------------------------------------- */

/* Values, and the state of a new row. */
static void set_row(struct table_sparse *table, float *row, const float_unaligned *values)
{
    const struct table_rows *rows = &table->rows;
    memset(row, 0, rows->store.floats * sizeof *row);
    if (rows->narrow) {
        bf16_narrow(values, (uint16_t *)(void *)row, rows->dim);
    } else {
        memcpy(row, values, rows->dim * sizeof *row);
    }
}

enum status table_sparse_assign(struct table_sparse *table, const uint64_unaligned *keys,
                                uint32_t key_count, const float_unaligned *values,
                                struct push_batch *batch, struct error *error)
{
    struct table_rows *rows = &table->rows;
    enum status status = begin(table, key_count, error);
    if (status == STATUS_OK && push_batch_rows(batch, key_count) != STATUS_OK) {
        status = error_set(error, STATUS_NOMEM, "table \"%s\": no memory for %u keys",
                           rows->spec->name, key_count);
    }
    if (status != STATUS_OK) return status;
    for (uint32_t i = 0; i < key_count; i++) {
        if (floats_finite(values + (size_t)i * rows->dim, rows->dim)) continue;
        rows->stats.not_finite++;
        return error_set(error, STATUS_INVALID,
                         "table \"%s\": the values of key %" PRIu64 " are NaN or infinite",
                         rows->spec->name, keys[i]);
    }
    table_rows_next_stamp(rows);
    for (uint32_t i = 0; status == STATUS_OK && i < key_count; i++) {
        struct index_entry *entry = find(table, keys[i]);
        if (entry == NULL) {
            status = table_rows_create(rows, keys[i], false, true, &batch->rows[i], error);
            continue;
        }
        batch->rows[i] = row_to_change(rows, entry);
    }
    for (uint32_t i = 0; status == STATUS_OK && i < key_count; i++)
        set_row(table, batch->rows[i], values + (size_t)i * rows->dim);
    return status;
}

uint32_t table_sparse_delete(struct table_sparse *table, const uint64_unaligned *keys,
                             uint32_t key_count)
{
    uint32_t deleted = 0;
    table_rows_next_stamp(&table->rows);
    for (uint32_t i = 0; i < key_count; i++) {
        struct index_entry *entry = find(table, keys[i]);
        if (entry == NULL) continue;
        table_rows_remove(&table->rows, entry);
        deleted++;
    }
    table->rows.stats.deleted += deleted;
    return deleted;
}

#define SCAN_ENTRIES 1024u

uint64_t table_sparse_scan(const struct table_sparse *table, uint64_t cursor, uint64_t *keys,
                           uint32_t keys_max, uint32_t *count)
{
    struct index_entry *entries[SCAN_ENTRIES];
    uint64_t looked = 0;
    *count = 0;
    do {
        uint32_t left = keys_max - *count, entry_count = 0;
        uint32_t most = left < SCAN_ENTRIES ? left : SCAN_ENTRIES;
        table_index_scan(&table->rows.index, &cursor, entries, most, &entry_count);
        for (uint32_t i = 0; i < entry_count; i++)
            keys[(*count)++] = entries[i]->key;
        looked += most / 2;
    } while (cursor != 0 && keys_max - *count >= 64 && looked < 16 * (uint64_t)keys_max);
    return cursor;
}

uint64_t table_sparse_scan_rows(const struct table_sparse *table, uint64_t cursor,
                                struct row_events *events, uint32_t rows_max)
{
    struct index_entry *entries[SCAN_ENTRIES];
    uint32_t count = 0;
    do {
        uint32_t left = rows_max - count, entry_count = 0;
        uint32_t most = left < SCAN_ENTRIES ? left : SCAN_ENTRIES;
        table_index_scan(&table->rows.index, &cursor, entries, most, &entry_count);
        for (uint32_t i = 0; i < entry_count; i++) {
            row_events_add(events, entries[i]->key, table_rows_at(&table->rows, entries[i]),
                           ROW_CHANGED);
        }
        count += entry_count;
    } while (cursor != 0 && rows_max - count >= 64);
    return cursor;
}

bool table_sparse_stored(const struct table_sparse *table, uint64_t key, float *stored)
{
    const struct index_entry *entry = find(table, key);
    if (entry != NULL) table_rows_store(&table->rows, table_rows_at(&table->rows, entry), stored);
    return entry != NULL;
}

enum status table_sparse_create(struct table_sparse *table, uint64_t key, struct error *error)
{
    float *row;
    enum status status = begin(table, 1, error);
    if (status != STATUS_OK || find(table, key) != NULL) return status;
    return table_rows_create(&table->rows, key, false, false, &row, error);
}

enum status table_sparse_restore(struct table_sparse *table, uint64_t key,
                                 const float_unaligned *stored, bool replace, struct error *error)
{
    struct table_rows *rows = &table->rows;
    enum status status = begin(table, 1, error);
    if (status != STATUS_OK) return status;
    struct index_entry *entry = find(table, key);
    if (entry != NULL && !replace) {
        return error_set(error, STATUS_CORRUPT, "table \"%s\": key %" PRIu64 " stands there twice",
                         rows->spec->name, key);
    }
    float *row = NULL;
    if (entry != NULL) {
        table_rows_will_change(rows, entry);
        table_rows_used(rows, entry);
        row = table_rows_at(rows, entry);
        table_rows_happened(rows, key, row, ROW_CHANGED);
    } else {
        status = table_rows_create(rows, key, true, false, &row, error);
    }
    if (status == STATUS_OK) table_rows_load(rows, stored, row);
    return status;
}
