/* The folder of a run's checkpoints: publishing, finding and removing them. */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/checksum.h"
#include "common/file.h"
#include "ps/checkpoint.h"
#include "ps/checkpoint_manifest.h"

/* The manifest goes first: what is left of a removal that is cut short is no checkpoint. */
static void remove_folder(const char *folder)
{
    char path[FILE_PATH_BYTES];
    if (file_path(path, NULL, "%s/manifest.yaml", folder) == STATUS_OK) (void)unlink(path);
    struct error error; /* what cannot be removed now is tried again after the next checkpoint */
    if (file_dir_remove(folder, &error) != STATUS_OK) return;
}

/* Checks that the part is where this process can see it. */
static enum status check_part(const char *partial, const struct checkpoint_part *part,
                              struct checkpoint_entry *entry, struct error *error)
{
    char path[FILE_PATH_BYTES];
    snprintf(entry->name, sizeof entry->name, "server-%u-shard-%u", part->server, part->shard);
    entry->bytes = part->bytes;
    enum status status = file_path(path, error, "%s/%s/manifest.yaml", partial, entry->name);
    if (status == STATUS_OK) status = checksum_file(path, &entry->checksum, error);
    if (status != STATUS_OK || entry->checksum == part->checksum) return status;
    return error_set(error, STATUS_CORRUPT,
                     "%s has XXH3 %016" PRIx64 "; its shard wrote %016" PRIx64, path,
                     entry->checksum, part->checksum);
}

/* The step that the parts build on has to be there, complete. */
static enum status check_base(const char *dir, const struct checkpoint_part *parts,
                              uint32_t part_count, uint64_t *base, struct error *error)
{
    char path[FILE_PATH_BYTES];
    *base = 0;
    for (uint32_t i = 0; i < part_count; i++) {
        if (parts[i].base == 0) continue;
        if (*base != 0 && parts[i].base != *base) {
            return error_set(error, STATUS_CORRUPT, "parts build on steps %" PRIu64 " and %" PRIu64,
                             *base, parts[i].base);
        }
        *base = parts[i].base;
    }
    if (*base == 0) return STATUS_OK;
    enum status status = file_path(path, error, "%s/step-%" PRIu64 "/manifest.yaml", dir, *base);
    if (status != STATUS_OK || file_exists(path)) return status;
    return error_set(error, STATUS_NOT_FOUND,
                     "parts build on step %" PRIu64 ", but %s is not there", *base, path);
}

enum status checkpoint_publish(const char *dir, uint64_t step, const struct checkpoint_part *parts,
                               uint32_t part_count, struct error *error)
{
    char partial[FILE_PATH_BYTES], path[FILE_PATH_BYTES], final[FILE_PATH_BYTES];
    enum status status = file_path(partial, error, "%s/step-%" PRIu64 ".partial", dir, step);
    if (status == STATUS_OK) status = file_path(path, error, "%s/manifest.yaml", partial);
    if (status == STATUS_OK) status = file_path(final, error, "%s/step-%" PRIu64, dir, step);
    if (status != STATUS_OK) return status;
    struct step_manifest manifest = {.step = step, .part_count = part_count};
    manifest.parts = calloc(part_count + (size_t)1, sizeof *manifest.parts);
    if (manifest.parts == NULL) return error_set(error, STATUS_NOMEM, "no memory for %s", path);
    status = check_base(dir, parts, part_count, &manifest.base, error);
    for (uint32_t i = 0; status == STATUS_OK && i < part_count; i++)
        status = check_part(partial, &parts[i], &manifest.parts[i], error);
    if (status == STATUS_OK) status = step_manifest_write(path, &manifest, error);
    step_manifest_deinit(&manifest);
    if (status != STATUS_OK) return status;
    status = file_dir_publish(partial, final, error);
    /* It may have its name and yet not be safe on the disk. */
    if (status != STATUS_OK) remove_folder(final);
    return status;
}

void checkpoint_abandon(const char *dir, uint64_t step)
{
    char partial[FILE_PATH_BYTES];
    struct error error; /* what cannot be removed now goes with the next prune */
    if (file_path(partial, &error, "%s/step-%" PRIu64 ".partial", dir, step) != STATUS_OK) return;
    if (file_dir_discard(partial, &error) != STATUS_OK) return;
}

/* "step-N", "step-N.partial" and "step-N.partial.old" (which is being removed), and nothing else.
 */
static bool parse_name(const char *name, uint64_t *step, bool *partial)
{
    char again[64], *end = NULL;
    if (strncmp(name, "step-", 5) != 0) return false;
    *step = strtoull(name + 5, &end, 10);
    *partial = strcmp(end, ".partial") == 0 || strcmp(end, ".partial.old") == 0;
    snprintf(again, sizeof again, "step-%" PRIu64 "%s", *step, *partial ? end : "");
    return strcmp(name, again) == 0;
}

struct step {
    uint64_t number;
    bool partial, complete; /* complete: not partial, with a manifest */
    bool stays;             /* checkpoint_prune leaves it */
    uint64_t base;          /* of one that stays */
};

/* All steps of `dir`, ascending; returns owned, NULL: none. */
static struct step *list_steps(const char *dir, uint32_t *count)
{
    struct step *steps = NULL;
    *count = 0;
    DIR *folder = opendir(dir);
    const struct dirent *entry = NULL;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        struct step step = {0};
        char path[FILE_PATH_BYTES];
        if (!parse_name(entry->d_name, &step.number, &step.partial)) continue;
        if (file_path(path, NULL, "%s/%s/manifest.yaml", dir, entry->d_name) != STATUS_OK) continue;
        step.complete = !step.partial && file_exists(path);
        struct step *more = realloc(steps, (*count + (size_t)1) * sizeof *more);
        if (more == NULL) break;
        steps = more;
        uint32_t place = (*count)++;
        for (; place > 0 && steps[place - 1].number > step.number; place--)
            steps[place] = steps[place - 1];
        steps[place] = step;
    }
    if (folder != NULL) closedir(folder);
    return steps;
}

uint64_t checkpoint_latest(const char *dir)
{
    uint32_t count = 0;
    uint64_t latest = 0;
    struct step *steps = list_steps(dir, &count);
    for (uint32_t i = 0; i < count; i++) {
        if (steps[i].complete) latest = steps[i].number;
    }
    free(steps);
    return latest;
}

static void remove_step(const char *dir, const struct step *step)
{
    char folder[FILE_PATH_BYTES];
    if (step->partial) {
        checkpoint_abandon(dir, step->number);
    } else if (file_path(folder, NULL, "%s/step-%" PRIu64, dir, step->number) == STATUS_OK) {
        remove_folder(folder);
    }
}

/* The step that a complete one builds on; false: its manifest cannot be read. */
static bool read_base(const char *dir, uint64_t step, uint64_t *base)
{
    char path[FILE_PATH_BYTES];
    struct step_manifest manifest = {0};
    struct error error;
    if (file_path(path, NULL, "%s/step-%" PRIu64 "/manifest.yaml", dir, step) != STATUS_OK ||
        step_manifest_read(path, &manifest, &error) != STATUS_OK) {
        return false;
    }
    *base = manifest.base;
    step_manifest_deinit(&manifest);
    return true;
}

/* Another that stays builds on this step: steps[first..count) are later ones. */
static bool is_base(const struct step *steps, uint32_t first, uint32_t count, uint64_t number)
{
    for (uint32_t i = first; i < count; i++) {
        if (steps[i].stays && steps[i].base == number) return true;
    }
    return false;
}

void checkpoint_prune(const char *dir, uint32_t keep, uint64_t best, uint64_t newest)
{
    uint32_t count = 0, kept = 0;
    struct step *steps = list_steps(dir, &count);
    bool unknown = false; /* what a step builds on: everything older may be needed */
    for (uint32_t i = count; i-- > 0;) {
        struct step *step = &steps[i];
        if (step->partial) {
            step->stays = step->number >= newest;
        } else if (step->complete) {
            bool is_new = kept < keep;
            step->stays = is_new || step->number == best || unknown ||
                          is_base(steps, i + 1, count, step->number);
            kept += is_new;
            if (step->stays && !read_base(dir, step->number, &step->base)) unknown = true;
        }
        if (!step->stays) remove_step(dir, step);
    }
    free(steps);
}
