/* Loads a shard's tables on a thread of its own, while the shard's thread goes on telling the
 * coordinator that it lives. */
#ifndef ANTHILL_PS_SHARD_RESTORE_H
#define ANTHILL_PS_SHARD_RESTORE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/wire.pb-c.h"
#include "ps/shard.h"

struct shard_restore;

/* Begins checkpoint_read of `step_dir`. The shard is the thread's until the restore has ended; the
 * map is copied.
 *   errors   STATUS_NOMEM
 *   owner    returns owned; shard_restore_end */
enum status shard_restore_begin(struct shard_restore **restore, struct shard *shard,
                                const char *step_dir, const Anthill__SlotMap *map, uint32_t self,
                                struct error *error) MUST_CHECK;

bool shard_restore_done(const struct shard_restore *restore);

/* Waits for the thread, frees, and returns how it went: what checkpoint_read returns. */
enum status shard_restore_end(struct shard_restore *restore, struct error *error) MUST_CHECK;

#endif
