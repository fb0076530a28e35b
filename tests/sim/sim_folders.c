/* Folders of the disk listed and walked, and its files mapped: opendir, fts and mmap as sim_disk.c
 * has the others. */
#include <errno.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/check.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_wrap.h"

enum { LISTINGS_MAX = 4, MAPPINGS_MAX = 64, PATH_BYTES = 256 };

/* ---- listed --------------------------------------------------------------------------------- */

static struct listing {
    char (*names)[DISK_NAME_BYTES]; /* NULL: the place is free */
    uint32_t count, next;
    struct dirent entry;
} listings[LISTINGS_MAX];

static struct listing *listing_of(DIR *folder)
{
    for (unsigned i = 0; i < LISTINGS_MAX; i++) {
        if ((void *)folder == (void *)&listings[i]) return &listings[i];
    }
    return NULL;
}

DIR *__wrap_opendir(const char *path)
{
    if (strncmp(path, "/sim", 4) != 0) return __real_opendir(path);
    bool is_folder = false;
    if (disk_refuses(false)) return NULL;
    if (!disk_exists(path, &is_folder) || !is_folder) {
        errno = ENOENT;
        return NULL;
    }
    unsigned place = 0;
    while (place < LISTINGS_MAX && listings[place].names != NULL)
        place++;
    CHECK(place < LISTINGS_MAX);
    listings[place].next = 0;
    listings[place].count = disk_names(path, &listings[place].names);
    return (DIR *)(void *)&listings[place];
}

struct dirent *__wrap_readdir(DIR *folder)
{
    struct listing *listing = listing_of(folder);
    if (listing == NULL) return __real_readdir(folder);
    if (listing->next == listing->count) return NULL;
    snprintf(listing->entry.d_name, sizeof listing->entry.d_name, "%s",
             listing->names[listing->next++]);
    return &listing->entry;
}

int __wrap_closedir(DIR *folder)
{
    struct listing *listing = listing_of(folder);
    if (listing == NULL) return __real_closedir(folder);
    free(listing->names);
    listing->names = NULL;
    return 0;
}

/* ---- walked --------------------------------------------------------------------------------- */

/* What a walk comes by, in its order, found when it begins. */
struct walk {
    FTSENT *entries;
    char (*paths)[PATH_BYTES];
    uint32_t count, capacity, next;
};

static void walk_add(struct walk *walk, const char *path, int info)
{
    if (walk->count == walk->capacity) {
        walk->capacity = walk->capacity * 2 + 32;
        walk->entries = realloc(walk->entries, walk->capacity * sizeof *walk->entries);
        walk->paths = realloc(walk->paths, walk->capacity * sizeof *walk->paths);
        CHECK(walk->entries != NULL && walk->paths != NULL);
    }
    snprintf(walk->paths[walk->count], PATH_BYTES, "%s", path);
    walk->entries[walk->count++] =
        (FTSENT){.fts_info = (unsigned short)info, .fts_errno = info == FTS_NS ? ENOENT : 0};
}

static void walk_below(struct walk *walk, const char *path)
{
    bool is_folder = false;
    if (!disk_exists(path, &is_folder)) {
        walk_add(walk, path, FTS_NS);
        return;
    }
    if (!is_folder) {
        walk_add(walk, path, FTS_F);
        return;
    }
    walk_add(walk, path, FTS_D);
    char(*names)[DISK_NAME_BYTES];
    uint32_t count = disk_names(path, &names);
    for (uint32_t i = 0; i < count; i++) {
        char below[PATH_BYTES];
        CHECK(snprintf(below, sizeof below, "%s/%s", path, names[i]) < PATH_BYTES);
        walk_below(walk, below);
    }
    free(names);
    walk_add(walk, path, FTS_DP);
}

FTS *__wrap_fts_open(char *const *paths, int options,
                     int (*compare)(const FTSENT **, const FTSENT **))
{
    if (strncmp(paths[0], "/sim", 4) != 0) return __real_fts_open(paths, options, compare);
    if (disk_refuses(false)) return NULL;
    struct walk *walk = calloc(1, sizeof *walk);
    CHECK(walk != NULL);
    walk_below(walk, paths[0]);
    return (FTS *)(void *)walk;
}

FTSENT *__wrap_fts_read(FTS *tree)
{
    struct walk *walk = (struct walk *)(void *)tree;
    if (walk->next == walk->count) return NULL;
    FTSENT *entry = &walk->entries[walk->next];
    entry->fts_path = walk->paths[walk->next++];
    return entry;
}

int __wrap_fts_close(FTS *tree)
{
    struct walk *walk = (struct walk *)(void *)tree;
    free(walk->entries);
    free(walk->paths);
    free(walk);
    return 0;
}

/* ---- mapped --------------------------------------------------------------------------------- */

static void *mappings[MAPPINGS_MAX];
static unsigned mapping_count;

void *__wrap_mmap(void *where, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    if (!disk_has(fd)) return __real_mmap(where, bytes, protection, flags, fd, offset);
    const void *data = disk_bytes(fd);
    if (disk_refuses(false) || data == NULL) return MAP_FAILED;
    CHECK(mapping_count < MAPPINGS_MAX && offset == 0);
    void *copy = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    CHECK(copy != NULL);
    memcpy(copy, data, bytes);
    return mappings[mapping_count++] = copy;
}

int __wrap_munmap(void *memory, size_t bytes)
{
    for (unsigned i = 0; i < mapping_count; i++) {
        if (mappings[i] != memory) continue;
        free(memory);
        mappings[i] = mappings[--mapping_count];
        return 0;
    }
    return __real_munmap(memory, bytes);
}
