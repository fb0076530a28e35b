/* The files of one shard's part of a checkpoint, written block by block: see ps/README.md for the
 * format. Does not know the shard.
 * thread: any, one at a time. */
#ifndef ANTHILL_PS_CHECKPOINT_PART_H
#define ANTHILL_PS_CHECKPOINT_PART_H

#include <stdint.h>

#include "common/error.h"
#include "ps/checkpoint_cut.h"

struct part_writer;

struct part_result {
    uint64_t bytes;    /* of all files */
    uint64_t checksum; /* XXH3 of manifest.yaml */
    uint64_t rows, deleted;
};

/* Begins DIR/step-N.partial/server-S-shard-T.unfinished/, in place of what a process before this
 * one left there. `plan` is borrowed until the writer is gone.
 *   errors   STATUS_IO
 *   owner    returns owned; part_writer_close or part_writer_abandon */
enum status part_writer_open(struct part_writer **writer, const struct checkpoint_plan *plan,
                             const char *dir, struct error *error) MUST_CHECK;

/* Blocks of a table come in their order; those of several tables may mix. */
enum status part_writer_put(struct part_writer *writer, const struct cut_block *block,
                            struct error *error) MUST_CHECK;

/* Bytes written so far. */
uint64_t part_writer_bytes(const struct part_writer *writer);

/* Writes the rest, flushes and renames the folder to server-S-shard-T. Frees the writer whatever
 * happens; on an error nothing is left of the part. */
enum status part_writer_close(struct part_writer *writer, struct part_result *result,
                              struct error *error) MUST_CHECK;

/* Removes what there is of the part. NULL does nothing. */
void part_writer_abandon(struct part_writer *writer);

#endif
