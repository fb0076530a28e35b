/* The YAML files of a checkpoint: what a shard wrote (server-S-shard-T/manifest.yaml) and what the
 * checkpoint is made of (step-N/manifest.yaml). The keys stand in ps/README.md. */
#ifndef ANTHILL_PS_CHECKPOINT_MANIFEST_H
#define ANTHILL_PS_CHECKPOINT_MANIFEST_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/wire.pb-c.h"

#define CHECKPOINT_NAME_BYTES 64
#define CHECKPOINT_PARTS_MAX  4096u
/* Keys, rows and deleted keys of each table, and the sessions. */
#define PART_FILES(tables) (3 * (tables) + 1)

/* A file of a part, or a part of a checkpoint (its checksum is that of the part's manifest). */
struct checkpoint_entry {
    char name[CHECKPOINT_NAME_BYTES];
    uint64_t bytes;
    uint64_t checksum; /* XXH3 */
};

struct part_table {
    Anthill__TableSpec *spec; /* owned when read, borrowed when written */
    bool full;                /* false: the base's part holds the rows that are not there */
    uint64_t rows, deleted;   /* keys in the files */
};

struct part_manifest {
    uint64_t step;
    uint32_t server, shard;
    uint64_t base;          /* step; 0: every table is full */
    uint64_t base_checksum; /* XXH3 of the manifest of the base's part of this server and shard */
    struct part_table *tables;
    uint32_t table_count;
    struct checkpoint_entry *files;
    uint32_t file_count;
};

struct step_manifest {
    uint64_t step;
    uint64_t base; /* of those parts that have one; 0: none */
    struct checkpoint_entry *parts;
    uint32_t part_count;
};

/*   errors   STATUS_IO; nothing is left then */
enum status part_manifest_write(const char *path, const struct part_manifest *manifest,
                                struct error *error) MUST_CHECK;
/*   errors   STATUS_NOT_FOUND, STATUS_IO; STATUS_CORRUPT with the path for what is no manifest
 *   owner    part_manifest_deinit */
enum status part_manifest_read(const char *path, struct part_manifest *manifest,
                               struct error *error) MUST_CHECK;
void part_manifest_deinit(struct part_manifest *manifest);

/* The same for the whole checkpoint. The file ends in a comment with the XXH3 of what is before it,
 * because nothing else vouches for it. */
enum status step_manifest_write(const char *path, const struct step_manifest *manifest,
                                struct error *error) MUST_CHECK;
enum status step_manifest_read(const char *path, struct step_manifest *manifest,
                               struct error *error) MUST_CHECK;
void step_manifest_deinit(struct step_manifest *manifest);

#endif
