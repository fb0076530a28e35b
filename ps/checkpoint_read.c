/* Loads checkpoints. A part is a chain: what it does not hold is in the part of the step that it
 * builds on, down to one that holds all rows of a table. Every file of the chains is checked
 * against its manifest before the first row is taken. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/checksum.h"
#include "common/file.h"
#include "common/npy.h"
#include "common/program.h"
#include "ps/checkpoint.h"
#include "ps/checkpoint_manifest.h"
#include "ps/table.h"
#include "ps/table_spec.h"

#define ROWS_AT_ONCE 65536u

/* What is to be loaded: rows whose slot `map` gives to shard `self`, or all. */
struct selection {
    const Anthill__SlotMap *map; /* NULL: every row */
    uint32_t self;
};

/* One step's part. */
struct link {
    char *folder;
    struct part_manifest manifest;
    bool *wanted; /* [table_count]: its table has rows for us */
};

struct part {
    struct link *links; /* the newest first */
    uint32_t link_count;
};

static bool selected(const struct selection *selection, uint64_t key)
{
    const Anthill__SlotMap *map = selection->map;
    return map == NULL || map->owners[slot_of(key, map->slot_count)] == selection->self;
}

/* ---- files ---- */

static bool is_array(const char *path)
{
    size_t length = strlen(path);
    return length > 4 && strcmp(path + length - 4, ".npy") == 0;
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
    enum status status = is_array(path) ? npy_checksum_file(path, &checksum, error)
                                        : checksum_file(path, &checksum, error);
    if (status != STATUS_OK) return status;
    if (checksum == entry->checksum) return STATUS_OK;
    return error_set(error, STATUS_CORRUPT,
                     "%s has XXH3 %016" PRIx64 "; the manifest says %016" PRIx64, path, checksum,
                     entry->checksum);
}

/* The path of the file `name` of a part; with `check` it is as the manifest says. */
static enum status link_file(const struct link *link, const char *name, bool check,
                             char path[FILE_PATH_BYTES], struct error *error)
{
    enum status status = file_path(path, error, "%s/%s", link->folder, name);
    if (status != STATUS_OK || !check) return status;
    for (uint32_t i = 0; i < link->manifest.file_count; i++) {
        if (strcmp(link->manifest.files[i].name, name) == 0) {
            return check_file(path, &link->manifest.files[i], error);
        }
    }
    return error_set(error, STATUS_CORRUPT, "%s/manifest.yaml does not list %s", link->folder,
                     name);
}

/* One of the arrays of table `index`: `what` is keys or deleted. npy_close. */
static enum status open_keys(const struct link *link, uint32_t index, const char *what, bool check,
                             struct npy *keys, struct error *error)
{
    char path[FILE_PATH_BYTES], name[CHECKPOINT_NAME_BYTES];
    const struct part_table *table = &link->manifest.tables[index];
    const uint64_t shape[] = {strcmp(what, "keys") == 0 ? table->rows : table->deleted};
    snprintf(name, sizeof name, "table-%u-%s.npy", index, what);
    enum status status = link_file(link, name, check, path, error);
    if (status == STATUS_OK) status = npy_open_as(keys, path, NPY_U64, 1, shape, error);
    return status;
}

static enum status open_rows(const struct link *link, uint32_t index, bool check, struct npy *rows,
                             struct error *error)
{
    char path[FILE_PATH_BYTES], name[CHECKPOINT_NAME_BYTES];
    const struct part_table *table = &link->manifest.tables[index];
    bool dense = table->spec->kind == ANTHILL__TABLE_KIND__TABLE_DENSE;
    const uint64_t shape[] = {dense ? UINT64_MAX : table->rows, UINT64_MAX};
    snprintf(name, sizeof name, "table-%u-rows.npy", index);
    enum status status = link_file(link, name, check, path, error);
    if (status == STATUS_OK) {
        status = npy_open_as(rows, path, NPY_F32, dense ? 1 : 2, shape, error);
    }
    return status;
}

/* A restore may be long: a program that is asked to stop does not wait for it. */
static enum status go_on(struct error *error)
{
    if (!program_stop_requested()) return STATUS_OK;
    return error_set(error, STATUS_STOPPED, "asked to stop");
}

/* ---- checks ---- */

static bool any_selected(const struct npy *keys, const struct selection *selection)
{
    const uint64_t *numbers = keys->data;
    for (uint64_t i = 0; i < keys->count; i++) {
        if (selected(selection, numbers[i])) return true;
    }
    return false;
}

/* Checks what a step holds of a table, as far as it has something for us. */
static enum status check_table(struct link *link, uint32_t index, const struct selection *selection,
                               struct error *error)
{
    struct npy keys = {0}, deleted = {0}, rows = {0};
    enum status status = go_on(error);
    if (status == STATUS_OK) status = open_keys(link, index, "keys", true, &keys, error);
    if (status == STATUS_OK && !link->manifest.tables[index].full) {
        status = open_keys(link, index, "deleted", true, &deleted, error);
    }
    link->wanted[index] = status == STATUS_OK && any_selected(&keys, selection);
    if (link->wanted[index]) status = open_rows(link, index, true, &rows, error);
    npy_close(&keys);
    npy_close(&deleted);
    npy_close(&rows);
    return status;
}

/* The link that holds all rows of table `index`: newer ones say what changed since. */
static enum status find_full(const struct part *part, uint32_t index, uint32_t *full,
                             struct error *error)
{
    const struct part_table *newest = &part->links[0].manifest.tables[index];
    for (*full = 0; *full < part->link_count; ++*full) {
        const struct part_manifest *manifest = &part->links[*full].manifest;
        if (index >= manifest->table_count) break;
        enum status status = table_spec_compare(manifest->tables[index].spec, newest->spec, error);
        if (status != STATUS_OK) {
            return error_wrap(error, STATUS_CORRUPT, "%s: table %u differs from %s",
                              part->links[*full].folder, index, part->links[0].folder);
        }
        if (manifest->tables[index].full) return STATUS_OK;
    }
    return error_set(error, STATUS_CORRUPT, "%s: no step that it builds on has all of table %u",
                     part->links[0].folder, index);
}

static enum status check_part(const struct part *part, const struct selection *selection,
                              struct error *error)
{
    char path[FILE_PATH_BYTES];
    enum status status = link_file(&part->links[0], "sessions.bin", true, path, error);
    for (uint32_t i = 0; status == STATUS_OK && i < part->links[0].manifest.table_count; i++) {
        uint32_t full = 0;
        status = find_full(part, i, &full, error);
        for (uint32_t l = 0; status == STATUS_OK && l <= full; l++)
            status = check_table(&part->links[l], i, selection, error);
    }
    return status;
}

/* ---- rows ---- */

static enum status delete_rows(struct table *table, const struct link *link, uint32_t index,
                               const struct selection *selection, struct error *error)
{
    struct npy deleted = {0};
    if (link->manifest.tables[index].full) return STATUS_OK;
    enum status status = open_keys(link, index, "deleted", false, &deleted, error);
    const uint64_t *keys = deleted.data;
    for (uint64_t i = 0; status == STATUS_OK && i < deleted.count; i++) {
        if (selected(selection, keys[i])) (void)table_delete(table, &keys[i], 1);
    }
    npy_close(&deleted);
    return status;
}

/* Puts the selected rows of a step's table into `table`. */
static enum status put_rows(struct table *table, const struct npy *keys, const struct npy *rows,
                            bool replace, const struct selection *selection, struct error *error)
{
    const uint64_t *numbers = keys->data;
    const float *floats = rows->data;
    uint64_t left = rows->count;
    for (uint64_t i = 0; i < keys->count; i++) {
        enum status status = i % ROWS_AT_ONCE == 0 ? go_on(error) : STATUS_OK;
        if (status != STATUS_OK) return status;
        uint64_t more = table_stored_floats(table, numbers[i]);
        if (more == 0 || more > left) {
            return error_set(error, STATUS_CORRUPT, "key %" PRIu64 " has no row there", numbers[i]);
        }
        if (selected(selection, numbers[i])) {
            status = table_restore_row(table, numbers[i], floats, replace, error);
            if (status != STATUS_OK) return status;
        }
        floats += more;
        left -= more;
    }
    if (left == 0) return STATUS_OK;
    return error_set(error, STATUS_CORRUPT, "%" PRIu64 " floats belong to no key", left);
}

static enum status load_rows(struct table *table, const struct link *link, uint32_t index,
                             const struct selection *selection, struct error *error)
{
    struct npy keys = {0}, rows = {0};
    enum status status = delete_rows(table, link, index, selection, error);
    if (status != STATUS_OK || !link->wanted[index]) return status;
    status = open_keys(link, index, "keys", false, &keys, error);
    if (status == STATUS_OK) status = open_rows(link, index, false, &rows, error);
    if (status == STATUS_OK) {
        bool replace = !link->manifest.tables[index].full;
        status = put_rows(table, &keys, &rows, replace, selection, error);
    }
    npy_close(&keys);
    npy_close(&rows);
    return status == STATUS_OK ? status : error_wrap(error, status, "%s", link->folder);
}

static enum status load_table(struct shard *shard, const struct part *part, uint32_t index,
                              const struct selection *selection, struct error *error)
{
    uint32_t id = 0, full = 0;
    const struct link *newest = &part->links[0];
    enum status status = shard_table_create(shard, newest->manifest.tables[index].spec, &id, error);
    if (status == STATUS_CONFIG) status = error_wrap(error, STATUS_CORRUPT, "parts disagree");
    if (status == STATUS_OK) status = find_full(part, index, &full, error);
    for (uint32_t l = full + 1; status == STATUS_OK && l > 0; l--) {
        status = load_rows(shard_table(shard, id), &part->links[l - 1], index, selection, error);
    }
    if (status == STATUS_OK) return status;
    return error_wrap(error, status, "%s: table %u", newest->folder, index);
}

static enum status load_sessions(struct shard *shard, const struct part *part, struct error *error)
{
    char path[FILE_PATH_BYTES];
    struct file_map map = {0};
    enum status status = link_file(&part->links[0], "sessions.bin", false, path, error);
    if (status == STATUS_OK) status = file_map_open(&map, path, error);
    if (status != STATUS_OK) return status;
    status = shard_sessions_load(shard, map.data, map.bytes, error);
    file_map_close(&map);
    return status == STATUS_OK ? status : error_wrap(error, status, "%s", path);
}

/* ---- manifests ---- */

/* Reads the manifest of STEPS/step-N/NAME/, whose checksum stands in `where`. */
static enum status read_link(struct link *link, const char *step_dir, uint64_t step,
                             const char *name, uint64_t expected, const char *where,
                             struct error *error)
{
    char path[FILE_PATH_BYTES], own[CHECKPOINT_NAME_BYTES];
    enum status status = file_path(path, error, "%s/%s", step_dir, name);
    if (status != STATUS_OK) return status;
    link->folder = strdup(path);
    if (link->folder == NULL) return error_set(error, STATUS_NOMEM, "no memory for %s", path);
    status = file_path(path, error, "%s/manifest.yaml", link->folder);
    if (status != STATUS_OK) return status;
    uint64_t checksum = 0;
    status = checksum_file(path, &checksum, error);
    if (status == STATUS_NOT_FOUND) return error_wrap(error, STATUS_CORRUPT, "a part is missing");
    if (status != STATUS_OK) return status;
    if (checksum != expected) {
        return error_set(error, STATUS_CORRUPT,
                         "%s has XXH3 %016" PRIx64 "; %s/manifest.yaml says %016" PRIx64, path,
                         checksum, where, expected);
    }
    status = part_manifest_read(path, &link->manifest, error);
    if (status != STATUS_OK) return status;
    const struct part_manifest *manifest = &link->manifest;
    snprintf(own, sizeof own, "server-%u-shard-%u", manifest->server, manifest->shard);
    if (manifest->step != step || strcmp(own, name) != 0) {
        return error_set(error, STATUS_CORRUPT, "%s is of %s at step %" PRIu64, path, own,
                         manifest->step);
    }
    link->wanted = calloc(manifest->table_count + (size_t)1, sizeof *link->wanted);
    if (link->wanted != NULL) return STATUS_OK;
    return error_set(error, STATUS_NOMEM, "no memory for %s", path);
}

/* The folder of another step beside this one. */
static enum status beside(const char *step_dir, uint64_t step, char path[FILE_PATH_BYTES],
                          struct error *error)
{
    const char *slash = strrchr(step_dir, '/');
    int parent = slash == NULL ? 0 : (int)(slash - step_dir) + 1;
    return file_path(path, error, "%.*sstep-%" PRIu64, parent, step_dir, step);
}

/* Reads a part and those that it builds on. Links may be there on error, too. */
static enum status read_part(const char *step_dir, uint64_t step,
                             const struct checkpoint_entry *entry, struct part *part,
                             struct error *error)
{
    char folder[FILE_PATH_BYTES];
    uint64_t expected = entry->checksum;
    const char *where = step_dir;
    for (;;) {
        struct link *links = realloc(part->links, (part->link_count + (size_t)1) * sizeof *links);
        if (links == NULL) return error_set(error, STATUS_NOMEM, "no memory for %s", step_dir);
        part->links = links;
        struct link *link = &links[part->link_count++];
        *link = (struct link){0};
        enum status status = beside(step_dir, step, folder, error);
        if (status == STATUS_OK) {
            status = read_link(link, folder, step, entry->name, expected, where, error);
        }
        if (status != STATUS_OK) return status;
        step = link->manifest.base;
        if (step == 0) return STATUS_OK;
        expected = link->manifest.base_checksum;
        where = link->folder;
    }
}

static void part_deinit(struct part *part)
{
    for (uint32_t l = 0; l < part->link_count; l++) {
        struct link *link = &part->links[l];
        part_manifest_deinit(&link->manifest);
        free(link->folder);
        free(link->wanted);
    }
    free(part->links);
}

static int compare_parts(const void *left, const void *right)
{
    const struct part_manifest *a = &((const struct part *)left)->links[0].manifest;
    const struct part_manifest *b = &((const struct part *)right)->links[0].manifest;
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
        ++*part_count;
    }
    step_manifest_deinit(&manifest);
    if (status == STATUS_OK) qsort(*parts, *part_count, sizeof **parts, compare_parts);
    return status;
}

static enum status load_part(struct shard *shard, const struct part *part,
                             const struct selection *selection, struct error *error)
{
    enum status status = STATUS_OK;
    for (uint32_t i = 0; status == STATUS_OK && i < part->links[0].manifest.table_count; i++)
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
        part_deinit(&parts[i]);
    free(parts);
    return status == STATUS_OK ? status : error_wrap(error, status, "checkpoint");
}
