/* Loads checkpoints. Every file is checked against its manifest before the first row is taken. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/checksum.h"
#include "common/file.h"
#include "common/npy.h"
#include "ps/checkpoint.h"
#include "ps/checkpoint_manifest.h"
#include "ps/table.h"
#include "ps/table_spec.h"

/* What is to be loaded: rows whose slot `map` gives to shard `self`, or all. */
struct selection {
    const Anthill__SlotMap *map; /* NULL: every row */
    uint32_t self;
};

struct part {
    char folder[FILE_PATH_BYTES];
    struct part_manifest manifest;
};

static bool selected(const struct selection *selection, uint64_t key)
{
    const Anthill__SlotMap *map = selection->map;
    return map == NULL || map->owners[slot_of(key, map->slot_count)] == selection->self;
}

/* STATUS_CORRUPT unless the file has the size and the checksum of its entry. */
static enum status check_file(const char *path, const struct checkpoint_entry *entry,
                              struct error *error)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        enum status status = errno == ENOENT ? STATUS_CORRUPT : STATUS_IO;
        return error_set_errno(error, status, errno, "%s", path);
    }
    if ((uint64_t)info.st_size != entry->bytes) {
        return error_set(error, STATUS_CORRUPT,
                         "%s has %" PRIu64 " bytes; the manifest says %" PRIu64, path,
                         (uint64_t)info.st_size, entry->bytes);
    }
    uint64_t checksum = 0;
    enum status status = checksum_file(path, &checksum, error);
    if (status != STATUS_OK) return status;
    if (checksum == entry->checksum) return STATUS_OK;
    return error_set(error, STATUS_CORRUPT,
                     "%s has XXH3 %016" PRIx64 "; the manifest says %016" PRIx64, path, checksum,
                     entry->checksum);
}

/* The path of the file `name` of a part, checked. */
static enum status part_file(const struct part *part, const char *name, char path[FILE_PATH_BYTES],
                             struct error *error)
{
    enum status status = file_path(path, error, "%s/%s", part->folder, name);
    if (status != STATUS_OK) return status;
    for (uint32_t i = 0; i < part->manifest.file_count; i++) {
        if (strcmp(part->manifest.files[i].name, name) == 0) {
            return check_file(path, &part->manifest.files[i], error);
        }
    }
    return error_set(error, STATUS_CORRUPT, "%s/manifest.yaml does not list %s", part->folder,
                     name);
}

/* The keys of table `index` of a part; npy_close. */
static enum status open_keys(const struct part *part, uint32_t index, struct npy *keys,
                             struct error *error)
{
    char path[FILE_PATH_BYTES], name[CHECKPOINT_NAME_BYTES];
    snprintf(name, sizeof name, "table-%u-keys.npy", index);
    enum status status = part_file(part, name, path, error);
    uint64_t shape[] = {part->manifest.tables[index].rows};
    if (status == STATUS_OK) status = npy_open_as(keys, path, NPY_U64, 1, shape, error);
    return status;
}

static enum status open_rows(const struct part *part, uint32_t index, struct npy *rows,
                             struct error *error)
{
    char path[FILE_PATH_BYTES], name[CHECKPOINT_NAME_BYTES];
    const struct part_table *table = &part->manifest.tables[index];
    bool dense = table->spec->kind == ANTHILL__TABLE_KIND__TABLE_DENSE;
    snprintf(name, sizeof name, "table-%u-rows.npy", index);
    enum status status = part_file(part, name, path, error);
    uint64_t shape[] = {dense ? UINT64_MAX : table->rows, UINT64_MAX};
    if (status == STATUS_OK) {
        status = npy_open_as(rows, path, NPY_F32, dense ? 1 : 2, shape, error);
    }
    return status;
}

static bool any_selected(const struct npy *keys, const struct selection *selection)
{
    const uint64_t *numbers = keys->data;
    for (uint64_t i = 0; i < keys->count; i++) {
        if (selected(selection, numbers[i])) return true;
    }
    return false;
}

/* Checks the files of a part that have something for us. */
static enum status check_part(const struct part *part, const struct selection *selection,
                              struct error *error)
{
    char path[FILE_PATH_BYTES];
    enum status status = part_file(part, "sessions.bin", path, error);
    for (uint32_t i = 0; status == STATUS_OK && i < part->manifest.table_count; i++) {
        struct npy keys = {0}, rows = {0};
        status = open_keys(part, i, &keys, error);
        if (status == STATUS_OK && any_selected(&keys, selection)) {
            status = open_rows(part, i, &rows, error);
        }
        npy_close(&keys);
        npy_close(&rows);
    }
    return status;
}

/* Puts the selected rows of a part's table into `table`. */
static enum status load_rows(struct table *table, const struct npy *keys, const struct npy *rows,
                             const struct selection *selection, struct error *error)
{
    const uint64_t *numbers = keys->data;
    const float *floats = rows->data;
    uint64_t left = rows->count;
    for (uint64_t i = 0; i < keys->count; i++) {
        uint64_t more = table_stored_floats(table, numbers[i]);
        if (more == 0 || more > left) {
            return error_set(error, STATUS_CORRUPT, "key %" PRIu64 " has no row there", numbers[i]);
        }
        if (selected(selection, numbers[i])) {
            enum status status = table_restore_row(table, numbers[i], floats, false, error);
            if (status != STATUS_OK) return status;
        }
        floats += more;
        left -= more;
    }
    if (left == 0) return STATUS_OK;
    return error_set(error, STATUS_CORRUPT, "%" PRIu64 " floats belong to no key", left);
}

static enum status load_table(struct shard *shard, const struct part *part, uint32_t index,
                              const struct selection *selection, struct error *error)
{
    uint32_t id = 0;
    struct npy keys = {0}, rows = {0};
    enum status status = shard_table_create(shard, part->manifest.tables[index].spec, &id, error);
    if (status == STATUS_CONFIG) status = error_wrap(error, STATUS_CORRUPT, "parts disagree");
    if (status == STATUS_OK) status = open_keys(part, index, &keys, error);
    if (status == STATUS_OK && any_selected(&keys, selection)) {
        status = open_rows(part, index, &rows, error);
        if (status == STATUS_OK) {
            status = load_rows(shard_table(shard, id), &keys, &rows, selection, error);
        }
    }
    npy_close(&keys);
    npy_close(&rows);
    if (status == STATUS_OK) return status;
    return error_wrap(error, status, "%s: table %u", part->folder, index);
}

static enum status load_sessions(struct shard *shard, const struct part *part, struct error *error)
{
    char path[FILE_PATH_BYTES];
    struct file_map map = {0};
    enum status status = part_file(part, "sessions.bin", path, error);
    if (status == STATUS_OK) status = file_map_open(&map, path, error);
    if (status != STATUS_OK) return status;
    status = shard_sessions_load(shard, map.data, map.bytes, error);
    file_map_close(&map);
    return status == STATUS_OK ? status : error_wrap(error, status, "%s", path);
}

static enum status read_part(const char *step_dir, uint64_t step,
                             const struct checkpoint_entry *entry, struct part *part,
                             struct error *error)
{
    char path[FILE_PATH_BYTES], name[CHECKPOINT_NAME_BYTES];
    enum status status = file_path(part->folder, error, "%s/%s", step_dir, entry->name);
    if (status == STATUS_OK) status = file_path(path, error, "%s/manifest.yaml", part->folder);
    if (status != STATUS_OK) return status;
    uint64_t checksum = 0;
    status = checksum_file(path, &checksum, error);
    if (status == STATUS_NOT_FOUND) return error_wrap(error, STATUS_CORRUPT, "a part is missing");
    if (status != STATUS_OK) return status;
    if (checksum != entry->checksum) {
        return error_set(error, STATUS_CORRUPT,
                         "%s has XXH3 %016" PRIx64 "; %s/manifest.yaml says %016" PRIx64, path,
                         checksum, step_dir, entry->checksum);
    }
    status = part_manifest_read(path, &part->manifest, error);
    if (status != STATUS_OK) return status;
    const struct part_manifest *manifest = &part->manifest;
    snprintf(name, sizeof name, "server-%u-shard-%u", manifest->server, manifest->shard);
    if (manifest->step == step && strcmp(name, entry->name) == 0) return STATUS_OK;
    return error_set(error, STATUS_CORRUPT, "%s is of %s at step %" PRIu64, path, name,
                     manifest->step);
}

static int compare_parts(const void *left, const void *right)
{
    const struct part_manifest *a = &((const struct part *)left)->manifest;
    const struct part_manifest *b = &((const struct part *)right)->manifest;
    if (a->server != b->server) return a->server < b->server ? -1 : 1;
    return (a->shard > b->shard) - (a->shard < b->shard);
}

/* Reads the manifests of all parts, in the order of server and shard. *parts may be filled on
 * error, too. */
static enum status read_parts(const char *step_dir, struct part **parts, uint32_t *part_count,
                              struct error *error)
{
    char path[FILE_PATH_BYTES], expected[64];
    struct step_manifest manifest = {0};
    enum status status = file_path(path, error, "%s/manifest.yaml", step_dir);
    if (status == STATUS_OK) status = step_manifest_read(path, &manifest, error);
    if (status != STATUS_OK) return status;
    const char *base = strrchr(step_dir, '/');
    snprintf(expected, sizeof expected, "step-%" PRIu64, manifest.step);
    if (strcmp(base == NULL ? step_dir : base + 1, expected) != 0) {
        status = error_set(error, STATUS_CORRUPT, "%s is of %s", path, expected);
    }
    *parts = calloc(manifest.part_count + (size_t)1, sizeof **parts);
    if (*parts == NULL) {
        step_manifest_deinit(&manifest);
        return error_set(error, STATUS_NOMEM, "no memory for %s", path);
    }
    for (uint32_t i = 0; status == STATUS_OK && i < manifest.part_count; i++) {
        status = read_part(step_dir, manifest.step, &manifest.parts[i], &(*parts)[i], error);
        if (status == STATUS_OK) ++*part_count;
    }
    step_manifest_deinit(&manifest);
    if (status == STATUS_OK) qsort(*parts, *part_count, sizeof **parts, compare_parts);
    return status;
}

static enum status load_part(struct shard *shard, const struct part *part,
                             const struct selection *selection, struct error *error)
{
    enum status status = STATUS_OK;
    for (uint32_t i = 0; status == STATUS_OK && i < part->manifest.table_count; i++)
        status = load_table(shard, part, i, selection, error);
    return status;
}

/* Loads the checked parts. Where as many shards wrote as read, `own` is the part with our sessions;
 * it goes first, so that tables keep their numbers. */
static enum status load_parts(struct shard *shard, const struct part *parts, uint32_t part_count,
                              const struct part *own, const struct selection *selection,
                              struct error *error)
{
    enum status status = STATUS_OK;
    if (own != NULL) status = load_part(shard, own, selection, error);
    for (uint32_t i = 0; status == STATUS_OK && i < part_count; i++) {
        if (&parts[i] != own) status = load_part(shard, &parts[i], selection, error);
    }
    if (status == STATUS_OK && own != NULL) status = load_sessions(shard, own, error);
    return status;
}

static enum status check_map(const Anthill__SlotMap *map, uint32_t self, struct error *error)
{
    if (map == NULL) return STATUS_OK;
    if (self < map->n_shards && map->slot_count > 0 && map->n_owners == map->slot_count) {
        return STATUS_OK;
    }
    return error_set(error, STATUS_INVALID, "slot map of %zu shards and %zu owners of %u slots",
                     map->n_shards, map->n_owners, map->slot_count);
}

enum status checkpoint_read(struct shard *shard, const char *step_dir, const Anthill__SlotMap *map,
                            uint32_t self, struct error *error)
{
    struct selection selection = {.map = map, .self = self};
    struct part *parts = NULL;
    uint32_t part_count = 0;
    enum status status = check_map(map, self, error);
    if (status == STATUS_OK) status = read_parts(step_dir, &parts, &part_count, error);
    for (uint32_t i = 0; status == STATUS_OK && i < part_count; i++)
        status = check_part(&parts[i], &selection, error);
    if (status == STATUS_OK) {
        bool same = map != NULL && map->n_shards == part_count;
        status =
            load_parts(shard, parts, part_count, same ? &parts[self] : NULL, &selection, error);
        if (status != STATUS_OK) shard_clear(shard);
    }
    for (uint32_t i = 0; i < part_count; i++)
        part_manifest_deinit(&parts[i].manifest);
    free(parts);
    return status == STATUS_OK ? status : error_wrap(error, status, "checkpoint");
}
