/* A shard's tables as .npy arrays in a folder, with a manifest of sizes and checksums; the format
 * stands in ps/README.md. Writes are synchronous: call between messages.
 * thread: the shard's own. */
#ifndef ANTHILL_PS_CHECKPOINT_H
#define ANTHILL_PS_CHECKPOINT_H

#include <stdint.h>

#include "common/error.h"
#include "common/wire.pb-c.h"
#include "ps/shard.h"

/* Writes DIR/step-N.partial/server-S-shard-T/ whole: arrays, manifest.yaml, fsync. The coordinator
 * renames step-N.partial to step-N when every shard has done so (checkpoint_publish).
 *   checksum XXH3 of the shard's manifest.yaml
 *   errors   STATUS_IO: the shard's folder is removed again */
enum status checkpoint_write(const struct shard *shard, const char *dir, uint64_t step,
                             uint32_t server, uint32_t shard_index, uint64_t *bytes,
                             uint64_t *checksum, struct error *error) MUST_CHECK;

/* Loads into an empty shard every row of DIR/step-N whose slot `map` gives to shard `self` (an
 * index into map->shards); map NULL: every row. Works for another number of servers than wrote it.
 * Sessions are restored only when the number of shards is the same.
 *   errors   STATUS_NOT_FOUND, STATUS_CORRUPT naming the file and what differs; the shard is empty
 *            then */
enum status checkpoint_read(struct shard *shard, const char *step_dir, const Anthill__SlotMap *map,
                            uint32_t self, struct error *error) MUST_CHECK;

struct checkpoint_part {
    uint32_t server, shard;
    uint64_t bytes, checksum; /* as checkpoint_write gave them */
};

/* Writes DIR/step-N.partial/manifest.yaml over the parts and renames the folder to step-N. */
enum status checkpoint_publish(const char *dir, uint64_t step, const struct checkpoint_part *parts,
                               uint32_t part_count, struct error *error) MUST_CHECK;

/* The highest step for which DIR/step-N/manifest.yaml is there; 0: none. */
uint64_t checkpoint_latest(const char *dir);

/* Removes all but the newest `keep` checkpoints and `best` (0: none), and partial ones older than
 * `newest`. */
void checkpoint_prune(const char *dir, uint32_t keep, uint64_t best, uint64_t newest);

#endif
