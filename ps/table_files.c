#include "ps/table_files.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/file.h"
#include "common/npy.h"
#include "ps/transfer.h"

/* Requests under way at once, and how large they are. */
#define REQUESTS_MAX     8
#define REQUEST_BYTES    (4u << 20)
#define REQUEST_KEYS_MAX 65536u

/* ---- what the files have -------------------------------------------------------------------- */

static int compare_keys(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

/* How many of keys[count] have stood before. */
static enum status count_duplicates(const uint64_t *keys, uint64_t count, uint64_t *duplicates,
                                    struct error *error)
{
    *duplicates = 0;
    uint64_t ascending = 1;
    while (ascending < count && keys[ascending - 1] < keys[ascending])
        ascending++;
    if (ascending >= count) return STATUS_OK;
    uint64_t *sorted = malloc(count * sizeof *sorted);
    if (sorted == NULL)
        return error_set(error, STATUS_NOMEM, "no memory to sort %" PRIu64 " keys", count);
    memcpy(sorted, keys, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_keys);
    for (uint64_t i = 1; i < count; i++)
        *duplicates += sorted[i] == sorted[i - 1];
    free(sorted);
    return STATUS_OK;
}

/* Shards refuse such values, too; here nothing has been set yet. */
static enum status check_values(const struct npy *values, const char *path, struct error *error)
{
    const float *items = values->data;
    uint64_t dim = values->shape[1];
    for (uint64_t i = 0; i < values->count; i++) {
        if (isfinite(items[i])) continue;
        return error_set(error, STATUS_CORRUPT,
                         "%s: row %" PRIu64 ", column %" PRIu64 " is %g; a finite number expected",
                         path, i / dim, i % dim, (double)items[i]);
    }
    return STATUS_OK;
}

static enum status open_rows(struct npy *keys, struct npy *values, const char *dir, uint32_t dim,
                             struct error *error)
{
    char path[FILE_PATH_BYTES];
    uint64_t shape[2] = {UINT64_MAX, dim};
    enum status status = file_path(path, error, "%s/keys.npy", dir);
    if (status == STATUS_OK) status = npy_open_as(keys, path, NPY_U64, 1, shape, error);
    if (status == STATUS_OK) status = file_path(path, error, "%s/values.npy", dir);
    shape[0] = keys->count;
    if (status == STATUS_OK) status = npy_open_as(values, path, NPY_F32, 2, shape, error);
    return status == STATUS_OK ? check_values(values, path, error) : status;
}

/* ---- sending it ----------------------------------------------------------------------------- */

/* Assigns or deletes, a request after the other, with several under way. */
struct sender {
    struct client *client;
    uint32_t table, dim;
    const uint64_t *keys;
    const float *values; /* [count, dim]; NULL: deletes */
    uint64_t count, *deleted;
    struct transfer *transfer;
};

static uint32_t request_keys(const struct sender *sender, uint64_t sent)
{
    uint64_t row_bytes = sizeof *sender->keys;
    if (sender->values != NULL) row_bytes += sender->dim * sizeof *sender->values;
    uint64_t keys = REQUEST_BYTES / row_bytes, left = sender->count - sent;
    if (keys > REQUEST_KEYS_MAX) keys = REQUEST_KEYS_MAX;
    return (uint32_t)(keys < left ? keys : left);
}

static enum status start_request(const struct sender *sender, uint64_t sent, uint32_t key_count,
                                 uint64_t *ticket, struct error *error)
{
    const uint64_t *keys = sender->keys + sent;
    if (sender->values == NULL)
        return client_delete(sender->client, sender->table, keys, key_count, sender->deleted,
                             ticket, error);
    return client_assign(sender->client, sender->table, keys, key_count,
                         sender->values + sent * sender->dim, ticket, error);
}

static enum status send_all(const struct sender *sender, struct error *error)
{
    uint64_t tickets[REQUESTS_MAX] = {0};
    uint32_t keys[REQUESTS_MAX] = {0};
    enum status status = STATUS_OK;
    uint64_t sent = 0;
    for (unsigned i = 0; status == STATUS_OK && sent < sender->count; i++) {
        unsigned place = i % REQUESTS_MAX;
        if (keys[place] > 0) status = client_wait(sender->client, tickets[place], error);
        if (status != STATUS_OK) break;
        transfer_add(sender->transfer, keys[place]);
        keys[place] = request_keys(sender, sent);
        status = start_request(sender, sent, keys[place], &tickets[place], error);
        sent += keys[place];
    }
    if (status == STATUS_OK) status = client_flush(sender->client, error);
    if (status == STATUS_OK || sender->transfer->done == 0) return status;
    return error_wrap(error, status, "after %" PRIu64 " rows", sender->transfer->done);
}

static enum status open_sparse(struct client *client, const char *name, uint32_t *table,
                               uint32_t *dim, struct error *error)
{
    enum status status = client_open_table(client, name, table, NULL, error);
    if (status != STATUS_OK) return status;
    const Anthill__TableSpec *spec = client_table_spec(client, name, table);
    *dim = spec->dim;
    if (spec->kind == ANTHILL__TABLE_KIND__TABLE_SPARSE) return STATUS_OK;
    return error_set(error, STATUS_INVALID,
                     "table \"%s\" is dense; a sparse one, which has rows, expected", name);
}

/* ---- public --------------------------------------------------------------------------------- */

enum status table_files_import(struct client *client, const char *name, const char *dir,
                               int progress_descriptor, struct table_import *result,
                               struct error *error)
{
    struct npy keys = {0}, values = {0};
    struct sender sender = {.client = client};
    struct transfer transfer;
    *result = (struct table_import){0};
    enum status status = open_sparse(client, name, &sender.table, &sender.dim, error);
    if (status == STATUS_OK) status = open_rows(&keys, &values, dir, sender.dim, error);
    if (status == STATUS_OK)
        status = count_duplicates(keys.data, keys.count, &result->duplicates, error);
    if (status == STATUS_OK) {
        sender.keys = keys.data;
        sender.values = values.data;
        sender.count = keys.count;
        sender.transfer = &transfer;
        transfer_begin(&transfer, "rows imported", keys.count, progress_descriptor);
        status = send_all(&sender, error);
        result->seconds = transfer_end(&transfer);
    }
    result->rows = keys.count - result->duplicates;
    result->dim = sender.dim;
    npy_close(&keys);
    npy_close(&values);
    return status;
}

enum status table_files_delete(struct client *client, const char *name, const char *path,
                               int progress_descriptor, struct table_deletion *result,
                               struct error *error)
{
    struct npy keys = {0};
    struct sender sender = {.client = client, .deleted = &result->deleted};
    struct transfer transfer;
    const uint64_t shape[1] = {UINT64_MAX};
    *result = (struct table_deletion){0};
    enum status status = open_sparse(client, name, &sender.table, &sender.dim, error);
    if (status == STATUS_OK) status = npy_open_as(&keys, path, NPY_U64, 1, shape, error);
    if (status == STATUS_OK) {
        sender.keys = keys.data;
        sender.count = keys.count;
        sender.transfer = &transfer;
        transfer_begin(&transfer, "keys deleted", keys.count, progress_descriptor);
        status = send_all(&sender, error);
        result->seconds = transfer_end(&transfer);
    }
    result->keys = keys.count;
    npy_close(&keys);
    return status;
}
