#include "ps/checkpoint_part.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/checksum.h"
#include "common/file.h"
#include "common/npy.h"
#include "ps/checkpoint_manifest.h"
#include "ps/table.h"

/* Flushed as they come: the disk is kept busy evenly, and the last flush is short. */
#define FLUSH_BYTES (UINT64_C(64) << 20)

struct part_files {
    struct npy_writer *keys, *rows; /* NULL: no row has come */
    uint64_t row_count;
};

struct part_writer {
    const struct checkpoint_plan *plan;
    char step_dir[FILE_PATH_BYTES], folder[FILE_PATH_BYTES], unfinished[FILE_PATH_BYTES];
    struct part_files *tables; /* [plan->table_count] */
    struct part_manifest manifest;
    uint64_t bytes;     /* of data so far; with the other files at the end */
    uint64_t unflushed; /* of them since the last flush */
};

static void part_writer_free(struct part_writer *writer)
{
    for (uint32_t i = 0; writer->tables != NULL && i < writer->plan->table_count; i++) {
        npy_writer_abandon(writer->tables[i].keys);
        npy_writer_abandon(writer->tables[i].rows);
    }
    free(writer->tables);
    free(writer->manifest.tables);
    free(writer->manifest.files);
    free(writer);
}

static enum status make_paths(struct part_writer *writer, const char *dir, struct error *error)
{
    const struct checkpoint_plan *plan = writer->plan;
    enum status status =
        file_path(writer->step_dir, error, "%s/step-%" PRIu64 ".partial", dir, plan->step);
    if (status != STATUS_OK) return status;
    status = file_path(writer->folder, error, "%s/server-%u-shard-%u", writer->step_dir,
                       plan->server, plan->shard);
    if (status != STATUS_OK) return status;
    return file_path(writer->unfinished, error, "%s.unfinished", writer->folder);
}

/* Removes the folder under either name and frees; adds to `error` what fails of it. */
static enum status give_up(struct part_writer *writer, enum status status, struct error *error)
{
    struct error removal = {0};
    const struct checkpoint_plan *plan = writer->plan;
    enum status removed = file_dir_remove(writer->unfinished, &removal);
    if (removed == STATUS_OK) removed = file_dir_remove(writer->folder, &removal);
    (void)rmdir(writer->step_dir); /* succeeds when no other shard has written there */
    part_writer_free(writer);
    if (removed != STATUS_OK) error_wrap(error, status, "(%s)", removal.text);
    return error_wrap(error, status, "checkpoint %" PRIu64 " of server %u shard %u", plan->step,
                      plan->server, plan->shard);
}

enum status part_writer_open(struct part_writer **result, const struct checkpoint_plan *plan,
                             const char *dir, struct error *error)
{
    *result = NULL;
    struct part_writer *writer = calloc(1, sizeof *writer);
    if (writer == NULL) return error_set(error, STATUS_NOMEM, "no memory for a checkpoint");
    size_t tables = plan->table_count;
    writer->plan = plan;
    writer->manifest = (struct part_manifest){.step = plan->step,
                                              .server = plan->server,
                                              .shard = plan->shard,
                                              .base = plan->base.step,
                                              .base_checksum = plan->base.checksum};
    writer->tables = calloc(tables + 1, sizeof *writer->tables);
    writer->manifest.tables = calloc(tables + 1, sizeof *writer->manifest.tables);
    writer->manifest.files = calloc(PART_FILES(tables), sizeof *writer->manifest.files);
    enum status status = make_paths(writer, dir, error);
    if (status != STATUS_OK) {
        part_writer_free(writer);
        return status;
    }
    if (writer->tables == NULL || writer->manifest.tables == NULL ||
        writer->manifest.files == NULL) {
        status = error_set(error, STATUS_NOMEM, "no memory for %zu tables", tables);
    }
    if (status == STATUS_OK) status = file_dir_remove(writer->unfinished, error);
    if (status == STATUS_OK) status = file_dir_create(writer->unfinished, error);
    if (status != STATUS_OK) return give_up(writer, status, error);
    *result = writer;
    return STATUS_OK;
}

/* ---- rows ---- */

/* Sparse: [rows, floats of a row]; dense: the rows one after the other. */
static enum status open_files(struct part_writer *writer, uint32_t index, struct error *error)
{
    char path[FILE_PATH_BYTES];
    struct part_files *files = &writer->tables[index];
    const struct plan_table *table = &writer->plan->tables[index];
    bool dense = table->spec->kind == ANTHILL__TABLE_KIND__TABLE_DENSE;
    const uint64_t shape[] = {0, table->row_floats};
    enum status status = file_path(path, error, "%s/table-%u-keys.npy", writer->unfinished, index);
    if (status == STATUS_OK) {
        status = npy_writer_open(&files->keys, path, NPY_U64, 1, shape, error);
    }
    if (status == STATUS_OK) {
        status = file_path(path, error, "%s/table-%u-rows.npy", writer->unfinished, index);
    }
    if (status == STATUS_OK) {
        status = npy_writer_open(&files->rows, path, NPY_F32, dense ? 1 : 2, shape, error);
    }
    return status;
}

enum status part_writer_put(struct part_writer *writer, const struct cut_block *block,
                            struct error *error)
{
    struct part_files *files = &writer->tables[block->table];
    enum status status = STATUS_OK;
    if (block->key_count == 0) return STATUS_OK;
    if (files->keys == NULL) status = open_files(writer, block->table, error);
    if (status == STATUS_OK) {
        status = npy_writer_append(files->keys, block->keys, block->key_count, error);
    }
    if (status == STATUS_OK) {
        status = npy_writer_append(files->rows, block->floats, block->float_count, error);
    }
    uint64_t bytes = block->key_count * sizeof *block->keys + block->float_count * sizeof(float);
    writer->bytes += bytes;
    writer->unflushed += bytes;
    files->row_count += block->key_count;
    bool flush = writer->unflushed >= FLUSH_BYTES;
    /* However many tables there are, no more than two files of them are open. */
    if (status == STATUS_OK) status = npy_writer_rest(files->keys, flush, error);
    if (status == STATUS_OK) status = npy_writer_rest(files->rows, flush, error);
    if (flush) writer->unflushed = 0;
    return status;
}

uint64_t part_writer_bytes(const struct part_writer *writer)
{
    return writer->bytes;
}

/* ---- the end ---- */

static void note(struct part_writer *writer, uint64_t bytes, uint64_t checksum, const char *name)
{
    struct checkpoint_entry *entry = &writer->manifest.files[writer->manifest.file_count++];
    snprintf(entry->name, sizeof entry->name, "%s", name);
    entry->bytes = bytes;
    entry->checksum = checksum;
    writer->bytes += bytes;
}

static enum status close_file(struct part_writer *writer, struct npy_writer **file,
                              const char *name, struct error *error)
{
    struct npy_sum sum;
    struct npy_writer *closed = *file;
    *file = NULL;
    enum status status = npy_writer_close_sum(closed, &sum, error);
    if (status == STATUS_OK) note(writer, sum.bytes, sum.checksum, name);
    return status;
}

static enum status write_deleted(struct part_writer *writer, uint32_t index, struct error *error)
{
    char path[FILE_PATH_BYTES], name[CHECKPOINT_NAME_BYTES];
    const struct plan_table *table = &writer->plan->tables[index];
    struct npy_writer *file = NULL;
    const uint64_t shape[] = {0};
    if (table->full) return STATUS_OK;
    snprintf(name, sizeof name, "table-%u-deleted.npy", index);
    enum status status = file_path(path, error, "%s/%s", writer->unfinished, name);
    if (status == STATUS_OK) status = npy_writer_open(&file, path, NPY_U64, 1, shape, error);
    if (status != STATUS_OK) return status;
    status = npy_writer_append(file, table->deleted, table->deleted_count, error);
    if (status == STATUS_OK) return close_file(writer, &file, name, error);
    npy_writer_abandon(file);
    return status;
}

static enum status close_table(struct part_writer *writer, uint32_t index, struct error *error)
{
    char name[CHECKPOINT_NAME_BYTES];
    struct part_files *files = &writer->tables[index];
    const struct plan_table *table = &writer->plan->tables[index];
    enum status status = STATUS_OK;
    if (files->keys == NULL) status = open_files(writer, index, error);
    if (status == STATUS_OK) {
        snprintf(name, sizeof name, "table-%u-keys.npy", index);
        status = close_file(writer, &files->keys, name, error);
    }
    if (status == STATUS_OK) {
        snprintf(name, sizeof name, "table-%u-rows.npy", index);
        status = close_file(writer, &files->rows, name, error);
    }
    if (status == STATUS_OK) status = write_deleted(writer, index, error);
    writer->manifest.tables[writer->manifest.table_count++] =
        (struct part_table){.spec = table->spec,
                            .full = table->full,
                            .rows = files->row_count,
                            .deleted = table->deleted_count};
    return status;
}

static enum status write_sessions(struct part_writer *writer, struct error *error)
{
    char path[FILE_PATH_BYTES];
    const struct checkpoint_plan *plan = writer->plan;
    enum status status = file_path(path, error, "%s/sessions.bin", writer->unfinished);
    if (status == STATUS_OK) {
        status = file_write_atomic(path, plan->sessions, plan->sessions_bytes, error);
    }
    if (status == STATUS_OK) {
        note(writer, plan->sessions_bytes, checksum_bytes(plan->sessions, plan->sessions_bytes),
             "sessions.bin");
    }
    return status;
}

static enum status write_manifest(struct part_writer *writer, uint64_t *checksum,
                                  struct error *error)
{
    char path[FILE_PATH_BYTES];
    struct stat info;
    enum status status = file_path(path, error, "%s/manifest.yaml", writer->unfinished);
    if (status == STATUS_OK) status = part_manifest_write(path, &writer->manifest, error);
    if (status == STATUS_OK) status = checksum_file(path, checksum, error);
    if (status != STATUS_OK) return status;
    if (stat(path, &info) != 0) return error_set_errno(error, STATUS_IO, errno, "%s", path);
    writer->bytes += (uint64_t)info.st_size;
    return STATUS_OK;
}

enum status part_writer_close(struct part_writer *writer, struct part_result *result,
                              struct error *error)
{
    const struct checkpoint_plan *plan = writer->plan;
    enum status status = STATUS_OK;
    *result = (struct part_result){0};
    writer->bytes = 0;
    for (uint32_t i = 0; status == STATUS_OK && i < plan->table_count; i++) {
        status = close_table(writer, i, error);
        result->rows += writer->tables[i].row_count;
        result->deleted += plan->tables[i].deleted_count;
    }
    if (status == STATUS_OK) status = write_sessions(writer, error);
    if (status == STATUS_OK) status = write_manifest(writer, &result->checksum, error);
    if (status == STATUS_OK) {
        status = file_dir_publish(writer->unfinished, writer->folder, error);
    }
    if (status != STATUS_OK) return give_up(writer, status, error);
    result->bytes = writer->bytes;
    part_writer_free(writer);
    return STATUS_OK;
}

void part_writer_abandon(struct part_writer *writer)
{
    struct error error = {0};
    if (writer != NULL && give_up(writer, STATUS_STOPPED, &error) != STATUS_OK) return;
}
