#include "ps/table_export.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/file.h"
#include "common/npy.h"
#include "ps/table_spec.h"
#include "ps/transfer.h"

/* Pulls under way at once, and how large they are. */
#define SLOTS         4
#define SLOT_BYTES    (4u << 20)
#define SLOT_KEYS_MIN 64u
#define SLOT_KEYS_MAX 65536u

/* ---- where it is written -------------------------------------------------------------------- */

/* The file of a tensor: "layer-0/sage/weight" is layer-0.sage.weight.npy. */
static void tensor_file(const Anthill__TensorSpec *tensor, char file[TABLE_NAME_BYTES_MAX + 5])
{
    snprintf(file, TABLE_NAME_BYTES_MAX + 5, "%s.npy", tensor->name);
    for (char *slash; (slash = strchr(file, '/')) != NULL;)
        *slash = '.';
}

/* Whether `file` is one of those that an export of the table is made of. */
static bool is_part(const Anthill__TableSpec *spec, const char *file)
{
    if (spec->kind == ANTHILL__TABLE_KIND__TABLE_SPARSE)
        return strcmp(file, "keys.npy") == 0 || strcmp(file, "values.npy") == 0;
    for (size_t i = 0; i < spec->n_tensors; i++) {
        char part[TABLE_NAME_BYTES_MAX + 5];
        tensor_file(spec->tensors[i], part);
        if (strcmp(file, part) == 0) return true;
    }
    return false;
}

/* Only an earlier export, or an empty folder, is replaced. */
static enum status check_place(const Anthill__TableSpec *spec, const char *dir, struct error *error)
{
    enum status status = STATUS_OK;
    DIR *folder = opendir(dir);
    if (folder == NULL && errno == ENOENT) return STATUS_OK;
    if (folder == NULL)
        return error_set_errno(error, STATUS_IO, errno, "cannot open folder %s", dir);
    for (struct dirent *entry; status == STATUS_OK && (entry = readdir(folder)) != NULL;) {
        const char *file = entry->d_name;
        if (strcmp(file, ".") == 0 || strcmp(file, "..") == 0 || is_part(spec, file)) continue;
        status = error_set(error, STATUS_DENIED,
                           "%s is there and has %s, which is not of an export of \"%s\": not "
                           "replaced; choose another --out",
                           dir, file, spec->name);
    }
    closedir(folder);
    return status;
}

static bool same_file(const char *left, const char *right)
{
    for (; *left == *right || (*left == '/' && *right == '.') || (*left == '.' && *right == '/');
         left++, right++) {
        if (*left == '\0') return true;
    }
    return false;
}

/* Tensors get a file each. */
static enum status check_names(const Anthill__TableSpec *spec, struct error *error)
{
    for (size_t i = 0; i < spec->n_tensors; i++) {
        for (size_t j = 0; j < i; j++) {
            if (!same_file(spec->tensors[i]->name, spec->tensors[j]->name)) continue;
            char file[TABLE_NAME_BYTES_MAX + 5];
            tensor_file(spec->tensors[i], file);
            return error_set(error, STATUS_INVALID,
                             "table \"%s\": not exported, since tensors \"%s\" and \"%s\" would "
                             "both be %s",
                             spec->name, spec->tensors[j]->name, spec->tensors[i]->name, file);
        }
    }
    return STATUS_OK;
}

/* ---- sparse tables -------------------------------------------------------------------------- */

/* A pull under way. */
struct slot {
    uint64_t *keys;
    float *rows;    /* memory that shards reach where they can */
    uint32_t count; /* 0: none is */
    uint64_t ticket;
};

struct sparse_export {
    struct client *client;
    uint32_t table, dim, slot_keys;
    struct slot slots[SLOTS];
    struct client_scan scan;
    uint32_t scanned; /* keys of its last answer */
    struct npy_writer *keys, *values;
    struct transfer *transfer;
};

static enum status open_slots(struct sparse_export *export, struct error *error)
{
    uint32_t fit = SLOT_BYTES / (export->dim * (uint32_t)sizeof(float));
    export->slot_keys = fit < SLOT_KEYS_MIN   ? SLOT_KEYS_MIN
                        : fit > SLOT_KEYS_MAX ? SLOT_KEYS_MAX
                                              : fit;
    for (unsigned i = 0; i < SLOTS; i++) {
        struct slot *slot = &export->slots[i];
        size_t row_bytes = export->dim * sizeof *slot->rows;
        slot->keys = malloc(export->slot_keys * sizeof *slot->keys);
        slot->rows = client_memory_alloc(export->client, export->slot_keys * row_bytes);
        if (slot->keys == NULL || slot->rows == NULL)
            return error_set(error, STATUS_NOMEM, "no memory for %u rows", export->slot_keys);
    }
    return STATUS_OK;
}

/* After a stop request pulls are still under way: client_close ends them. */
static void close_slots(struct sparse_export *export, enum status status)
{
    for (unsigned i = 0; status != STATUS_STOPPED && i < SLOTS; i++) {
        const struct slot *slot = &export->slots[i];
        if (slot->count > 0) (void)!client_wait(export->client, slot->ticket, NULL);
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        client_memory_free(export->client, export->slots[i].rows);
        free(export->slots[i].keys);
    }
}

/* Waits for the slot's rows and writes them. */
static enum status write_slot(struct sparse_export *export, struct slot *slot, struct error *error)
{
    if (slot->count == 0) return STATUS_OK;
    enum status status = client_wait(export->client, slot->ticket, error);
    if (status != STATUS_OK) return status;
    uint32_t count = slot->count;
    slot->count = 0;
    status = npy_writer_append(export->keys, slot->keys, count, error);
    if (status == STATUS_OK)
        status =
            npy_writer_append(export->values, slot->rows, (uint64_t)count * export->dim, error);
    transfer_add(export->transfer, count);
    return status;
}

/* The keys of the next pulls are asked for while the ones before are under way. */
static enum status pull_all(struct sparse_export *export, struct error *error)
{
    enum status status = STATUS_OK;
    unsigned next = 0;
    for (;; next++) {
        struct slot *slot = &export->slots[next % SLOTS];
        status = write_slot(export, slot, error);
        if (status == STATUS_OK)
            status = client_scan(export->client, export->table, &export->scan, slot->keys,
                                 export->slot_keys, &export->scanned, error);
        if (status != STATUS_OK || export->scanned == 0) break;
        status = client_pull(export->client, export->table, slot->keys, export->scanned, slot->rows,
                             true, &slot->ticket, error);
        if (status != STATUS_OK) break;
        slot->count = export->scanned;
    }
    for (unsigned i = 0; status == STATUS_OK && i < SLOTS; i++)
        status = write_slot(export, &export->slots[(next + i) % SLOTS], error);
    return status;
}

static enum status open_writer(struct npy_writer **writer, const char *dir, const char *name,
                               enum npy_type type, unsigned dims, uint32_t dim, struct error *error)
{
    char path[FILE_PATH_BYTES];
    const uint64_t shape[2] = {0, dim};
    enum status status = file_path(path, error, "%s/%s.npy", dir, name);
    return status == STATUS_OK ? npy_writer_open(writer, path, type, dims, shape, error) : status;
}

static enum status export_sparse(struct client *client, uint32_t table, uint32_t dim,
                                 const char *dir, struct transfer *transfer, struct error *error)
{
    struct sparse_export export = {
        .client = client, .table = table, .dim = dim, .transfer = transfer};
    enum status status = open_writer(&export.keys, dir, "keys", NPY_U64, 1, 0, error);
    if (status == STATUS_OK)
        status = open_writer(&export.values, dir, "values", NPY_F32, 2, dim, error);
    if (status == STATUS_OK) status = open_slots(&export, error);
    if (status == STATUS_OK) status = pull_all(&export, error);
    close_slots(&export, status);
    if (status == STATUS_OK) {
        status = npy_writer_close(export.keys, error);
        export.keys = NULL;
    }
    if (status == STATUS_OK) {
        status = npy_writer_close(export.values, error);
        export.values = NULL;
    }
    npy_writer_abandon(export.keys);
    npy_writer_abandon(export.values);
    return status;
}

/* ---- dense tables --------------------------------------------------------------------------- */

static enum status write_tensors(const Anthill__TableSpec *spec, const float *values,
                                 const char *dir, struct error *error)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < spec->n_tensors; i++) {
        const Anthill__TensorSpec *tensor = spec->tensors[i];
        const uint64_t shape[2] = {tensor->rows, tensor->cols};
        char path[FILE_PATH_BYTES], file[TABLE_NAME_BYTES_MAX + 5];
        tensor_file(tensor, file);
        status = file_path(path, error, "%s/%s", dir, file);
        if (status == STATUS_OK) status = npy_write(path, NPY_F32, 2, shape, values, error);
        values += shape[0] * shape[1];
    }
    return status;
}

static enum status export_dense(struct client *client, uint32_t table,
                                const Anthill__TableSpec *spec, const char *dir,
                                struct error *error)
{
    uint64_t floats = table_spec_floats(spec), ticket;
    float *values = malloc(floats * sizeof *values);
    if (values == NULL) {
        return error_set(error, STATUS_NOMEM, "table \"%s\": no memory for %" PRIu64 " floats",
                         spec->name, floats);
    }
    enum status status = client_pull_dense(client, table, values, &ticket, error);
    if (status == STATUS_OK) status = client_wait(client, ticket, error);
    if (status == STATUS_OK) status = write_tensors(spec, values, dir, error);
    free(values);
    return status;
}

/* ---- both ----------------------------------------------------------------------------------- */

static enum status export_to(struct client *client, uint32_t table, const Anthill__TableSpec *spec,
                             const char *dir, struct transfer *transfer, struct error *error)
{
    char partial[FILE_PATH_BYTES];
    enum status status = file_path(partial, error, "%s.partial", dir);
    if (status == STATUS_OK) status = file_dir_remove(partial, error);
    if (status == STATUS_OK) status = file_dir_create(partial, error);
    if (status != STATUS_OK) return status;
    status = spec->kind == ANTHILL__TABLE_KIND__TABLE_DENSE
                 ? export_dense(client, table, spec, partial, error)
                 : export_sparse(client, table, spec->dim, partial, transfer, error);
    if (status == STATUS_OK) status = file_dir_publish(partial, dir, error);
    if (status != STATUS_OK) (void)!file_dir_remove(partial, NULL);
    return status;
}

enum status table_export(struct client *client, const char *name, const char *dir,
                         int progress_descriptor, struct table_export *result, struct error *error)
{
    char place[FILE_PATH_BYTES];
    uint32_t table;
    uint64_t rows;
    enum status status = file_path(place, error, "%s", dir);
    if (status == STATUS_OK) status = client_open_table(client, name, &table, &rows, error);
    if (status != STATUS_OK) return status;
    for (size_t end = strlen(place); end > 1 && place[end - 1] == '/';)
        place[--end] = '\0';
    const Anthill__TableSpec *spec = client_table_spec(client, name, &table);
    status = check_names(spec, error);
    if (status == STATUS_OK) status = check_place(spec, place, error);
    if (status != STATUS_OK) return status;
    struct transfer transfer;
    transfer_begin(&transfer, "rows exported", rows, progress_descriptor);
    status = export_to(client, table, spec, place, &transfer, error);
    *result = (struct table_export){
        .dense = spec->kind == ANTHILL__TABLE_KIND__TABLE_DENSE,
        .rows = transfer.done,
        .dim = spec->dim,
        .tensors = spec->n_tensors,
        .floats = table_spec_floats(spec),
        .seconds = transfer_end(&transfer),
    };
    return status;
}
