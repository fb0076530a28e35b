/* The shards that one thread has, each in its role: those that it serves, and copies of those that
 * other threads serve. Roles follow from the slot map. For ps/shard_host only. Pure. */
#ifndef ANTHILL_PS_HOSTED_SHARDS_H
#define ANTHILL_PS_HOSTED_SHARDS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/wire.h"
#include "ps/replica.h"
#include "ps/shard_checkpoint.h"
#include "ps/shard_host.h"

struct hosted_shard {
    uint32_t index;         /* in the slot map */
    uint32_t server, shard; /* its name: the thread where it is at home */
    struct replica *replica;
    struct shard_checkpoint *checkpoint;
    uint64_t told_step;       /* of the last checkpoint: the coordinator was told how it went */
    char *backup_endpoint;    /* of a primary; NULL: none */
    struct replica_view told; /* what the last heartbeat said */
};

struct hosted_shards {
    const struct shard_host_options *options; /* borrowed */
    struct hosted_shard **items;              /* [count], owned; the first is at home here */
    uint32_t count, capacity;
    uint32_t self; /* the number of this thread, and of its home shard; UINT32_MAX: not known yet */
    uint64_t map_version;
};

/* Only the home shard, in no role.
 *   errors   STATUS_NOMEM */
enum status hosted_shards_init(struct hosted_shards *hosted,
                               const struct shard_host_options *options) MUST_CHECK;
/* Checkpoints under way are abandoned. */
void hosted_shards_deinit(struct hosted_shards *hosted);

/* NULL: it is not here. */
struct hosted_shard *hosted_shards_find(const struct hosted_shards *hosted, uint32_t index);

/* Finds this thread in the map; false: it is not there, or the map makes no sense. */
bool hosted_shards_locate(struct hosted_shards *hosted, const Anthill__SlotMap *map);
/* The map says that this process of the thread is the shard's primary. */
bool hosted_shards_serves(const struct hosted_shards *hosted, const Anthill__ShardEntry *entry);
/* Adds shard `index` of the map unless it is here.
 *   errors   STATUS_NOMEM */
enum status hosted_shards_add(struct hosted_shards *hosted, const Anthill__SlotMap *map,
                              uint32_t index, struct hosted_shard **added) MUST_CHECK;

/* Takes the roles of a map that is newer than the one before; others are ignored. A shard that is
 * promoted, or need not wait for a backup any more, answers clients.
 *   errors   STATUS_NOMEM, STATUS_CORRUPT when this thread is not in it */
enum status hosted_shards_follow(struct hosted_shards *hosted, const Anthill__SlotMap *map,
                                 struct outbox *clients, struct error *error) MUST_CHECK;

/* What the primaries here have done together. */
void hosted_shards_stats(const struct hosted_shards *hosted, struct shard_stats *stats);

#endif
