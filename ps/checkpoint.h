/* Checkpoints in a run's folder: loading, publishing, finding and removing them. The format stands
 * in ps/README.md; parts are written by ps/checkpoint_part. */
#ifndef ANTHILL_PS_CHECKPOINT_H
#define ANTHILL_PS_CHECKPOINT_H

#include <stdint.h>

#include "common/error.h"
#include "common/wire.pb-c.h"
#include "ps/shard.h"

/* Loads into an empty shard every row of DIR/step-N whose slot `map` gives to shard `self` (an
 * index into map->shards); map NULL: every row. What the step builds on is read from DIR, too.
 * Works for another number of servers than wrote it. Sessions are restored only when the number of
 * shards is the same.
 *   errors   STATUS_NOT_FOUND, STATUS_CORRUPT naming the file and what differs; STATUS_STOPPED
 *            after program_stop_requested; the shard is empty then */
enum status checkpoint_read(struct shard *shard, const char *step_dir, const Anthill__SlotMap *map,
                            uint32_t self, struct error *error) MUST_CHECK;

struct checkpoint_part {
    uint32_t server, shard;
    uint64_t bytes, checksum; /* as part_writer_close gave them */
    uint64_t base;            /* the step that it builds on; 0: none */
};

/* Writes DIR/step-N.partial/manifest.yaml over the parts and renames the folder to step-N.
 *   errors   STATUS_NOT_FOUND when a part, or the step that parts build on, is not there;
 *            STATUS_CORRUPT, STATUS_IO */
enum status checkpoint_publish(const char *dir, uint64_t step, const struct checkpoint_part *parts,
                               uint32_t part_count, struct error *error) MUST_CHECK;

/* Removes DIR/step-N.partial. Cut short, even by the end of the machine, it leaves all of it or
 * nothing under that name: a step that lacks files cannot become complete. */
void checkpoint_abandon(const char *dir, uint64_t step);

/* The highest step for which DIR/step-N/manifest.yaml is there; 0: none. */
uint64_t checkpoint_latest(const char *dir);

/* Removes all but the newest `keep` checkpoints, `best` (0: none) and what those build on, and
 * partial ones older than `newest`. */
void checkpoint_prune(const char *dir, uint32_t keep, uint64_t best, uint64_t newest);

#endif
