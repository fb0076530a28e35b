#include "ps/checkpoint.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/checksum.h"
#include "common/file.h"
#include "common/npy.h"
#include "ps/checkpoint_manifest.h"
#include "ps/table.h"

static enum status write_keys(const struct table *table, const uint64_t *keys, const char *path,
                              struct error *error)
{
    uint64_t shape[] = {table_row_count(table)};
    return npy_write(path, NPY_U64, 1, shape, keys, error);
}

/* Sparse: [rows, floats of a row]; dense: the rows one after the other. */
static enum status write_rows(const struct table *table, const uint64_t *keys, const char *path,
                              struct error *error)
{
    bool dense = table_spec(table)->kind == ANTHILL__TABLE_KIND__TABLE_DENSE;
    uint64_t rows = table_row_count(table);
    uint64_t shape[] = {rows, dense ? 1 : table_stored_floats(table, 0)};
    struct npy_writer *writer = NULL;
    enum status status = npy_writer_open(&writer, path, NPY_F32, dense ? 1 : 2, shape, error);
    if (status != STATUS_OK) return status;
    float *stored = NULL;
    for (uint64_t row = 0; status == STATUS_OK && row < rows; row++) {
        uint32_t floats = table_stored_floats(table, keys[row]);
        free(stored);
        stored = malloc(floats * sizeof *stored);
        if (stored == NULL || !table_stored(table, keys[row], stored)) status = STATUS_NOMEM;
        if (status == STATUS_OK) status = npy_writer_append(writer, stored, floats, error);
    }
    free(stored);
    if (status == STATUS_OK) return npy_writer_close(writer, error);
    npy_writer_abandon(writer);
    return status;
}

/* Notes size and checksum of the file `name` that was written to `folder`. */
static enum status note_file(const char *folder, const char *name, struct part_manifest *manifest,
                             uint64_t *bytes, struct error *error)
{
    char path[FILE_PATH_BYTES];
    struct checkpoint_entry *entry = &manifest->files[manifest->file_count];
    enum status status = file_path(path, error, "%s/%s", folder, name);
    if (status == STATUS_OK) status = checksum_file(path, &entry->checksum, error);
    if (status != STATUS_OK) return status;
    struct stat info;
    if (stat(path, &info) != 0) return error_set_errno(error, STATUS_IO, errno, "%s", path);
    snprintf(entry->name, sizeof entry->name, "%s", name);
    entry->bytes = (uint64_t)info.st_size;
    *bytes += entry->bytes;
    manifest->file_count++;
    return STATUS_OK;
}

static enum status write_table(const struct table *table, uint32_t index, const char *folder,
                               struct part_manifest *manifest, uint64_t *bytes, struct error *error)
{
    char names[2][CHECKPOINT_NAME_BYTES], paths[2][FILE_PATH_BYTES];
    snprintf(names[0], sizeof names[0], "table-%u-keys.npy", index);
    snprintf(names[1], sizeof names[1], "table-%u-rows.npy", index);
    uint64_t rows = table_row_count(table);
    uint64_t *keys = malloc((rows + 1) * sizeof *keys);
    if (keys == NULL) return error_set(error, STATUS_NOMEM, "no memory for %" PRIu64 " keys", rows);
    uint64_t cursor = 0, listed = 0;
    do {
        uint32_t count = 0;
        uint64_t left = rows - listed;
        uint64_t some[1024];
        cursor = table_scan(table, cursor, some, 1024, &count);
        if (count > left) count = (uint32_t)left;
        memcpy(keys + listed, some, count * sizeof *keys);
        listed += count;
    } while (cursor != 0);
    enum status status = STATUS_OK;
    for (int i = 0; status == STATUS_OK && i < 2; i++)
        status = file_path(paths[i], error, "%s/%s", folder, names[i]);
    if (status == STATUS_OK) status = write_keys(table, keys, paths[0], error);
    if (status == STATUS_OK) status = write_rows(table, keys, paths[1], error);
    free(keys);
    for (int i = 0; status == STATUS_OK && i < 2; i++)
        status = note_file(folder, names[i], manifest, bytes, error);
    manifest->tables[manifest->table_count++] =
        (struct part_table){.spec = (Anthill__TableSpec *)table_spec(table), .rows = rows};
    return status;
}

static enum status write_sessions(const struct shard *shard, const char *folder,
                                  struct part_manifest *manifest, uint64_t *bytes,
                                  struct error *error)
{
    char path[FILE_PATH_BYTES];
    void *data = NULL;
    size_t size = 0;
    enum status status = shard_sessions_save(shard, &data, &size);
    if (status != STATUS_OK) return error_set(error, status, "no memory for sessions");
    status = file_path(path, error, "%s/sessions.bin", folder);
    if (status == STATUS_OK) status = file_write_atomic(path, data, size, error);
    if (status == STATUS_OK) status = note_file(folder, "sessions.bin", manifest, bytes, error);
    free(data);
    return status;
}

static enum status write_manifest(const char *folder, const struct part_manifest *manifest,
                                  uint64_t *bytes, uint64_t *checksum, struct error *error)
{
    char path[FILE_PATH_BYTES];
    struct stat info;
    enum status status = file_path(path, error, "%s/manifest.yaml", folder);
    if (status == STATUS_OK) status = part_manifest_write(path, manifest, error);
    if (status == STATUS_OK) status = checksum_file(path, checksum, error);
    if (status != STATUS_OK) return status;
    if (stat(path, &info) != 0) return error_set_errno(error, STATUS_IO, errno, "%s", path);
    *bytes += (uint64_t)info.st_size;
    return STATUS_OK;
}

/* Fills the empty folder. */
static enum status write_part(const struct shard *shard, const char *folder,
                              struct part_manifest *manifest, uint64_t *bytes, uint64_t *checksum,
                              struct error *error)
{
    uint32_t tables = shard_table_count(shard);
    manifest->tables = calloc(tables + (size_t)1, sizeof *manifest->tables);
    manifest->files = calloc(2 * (size_t)tables + 1, sizeof *manifest->files);
    if (manifest->tables == NULL || manifest->files == NULL) {
        return error_set(error, STATUS_NOMEM, "no memory for a manifest");
    }
    enum status status = STATUS_OK;
    for (uint32_t i = 0; status == STATUS_OK && i < tables; i++)
        status = write_table(shard_table(shard, i), i, folder, manifest, bytes, error);
    if (status == STATUS_OK) status = write_sessions(shard, folder, manifest, bytes, error);
    if (status == STATUS_OK) status = write_manifest(folder, manifest, bytes, checksum, error);
    return status;
}

enum status checkpoint_write(const struct shard *shard, const char *dir, uint64_t step,
                             uint32_t server, uint32_t shard_index, uint64_t *bytes,
                             uint64_t *checksum, struct error *error)
{
    char step_dir[FILE_PATH_BYTES], folder[FILE_PATH_BYTES], unfinished[FILE_PATH_BYTES];
    enum status status = file_path(step_dir, error, "%s/step-%" PRIu64 ".partial", dir, step);
    if (status == STATUS_OK) {
        status = file_path(folder, error, "%s/server-%u-shard-%u", step_dir, server, shard_index);
    }
    if (status == STATUS_OK) status = file_path(unfinished, error, "%s.unfinished", folder);
    if (status != STATUS_OK) return status;
    struct part_manifest manifest = {.step = step, .server = server, .shard = shard_index};
    *bytes = *checksum = 0;
    status = file_dir_remove(unfinished, error);
    if (status == STATUS_OK) status = file_dir_create(unfinished, error);
    if (status == STATUS_OK) {
        status = write_part(shard, unfinished, &manifest, bytes, checksum, error);
    }
    if (status == STATUS_OK) status = file_dir_publish(unfinished, folder, error);
    free(manifest.tables);
    free(manifest.files);
    if (status == STATUS_OK) return status;
    struct error removal = {0};
    if (file_dir_remove(unfinished, &removal) != STATUS_OK) {
        return error_wrap(error, status, "checkpoint %s (%s)", folder, removal.text);
    }
    (void)rmdir(step_dir); /* succeeds when no other shard has written there */
    return error_wrap(error, status, "checkpoint %s", folder);
}
