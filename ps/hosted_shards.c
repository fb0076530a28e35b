#include "ps/hosted_shards.h"

#include <stdlib.h>
#include <string.h>

#include "common/check.h"

#define NS_PER_S        UINT64_C(1000000000)
#define SESSION_IDLE_NS (600 * NS_PER_S)
#define INDEX_UNKNOWN   UINT32_MAX

static void hosted_destroy(struct hosted_shard *hosted)
{
    if (hosted == NULL) return;
    shard_checkpoint_destroy(hosted->checkpoint);
    replica_destroy(hosted->replica);
    free(hosted->backup_endpoint);
    free(hosted);
}

/* returns owned; NULL when memory is used up */
static struct hosted_shard *hosted_create(const struct shard_host_options *options, uint32_t server,
                                          uint32_t shard, uint32_t index)
{
    struct hosted_shard *hosted = calloc(1, sizeof *hosted);
    const struct replica_options replica_options = {.shard = {.server = server,
                                                              .shard = shard,
                                                              .incarnation = options->incarnation,
                                                              .session_idle_ns = SESSION_IDLE_NS,
                                                              .process = options->process,
                                                              .memory = options->memory},
                                                    .index = index};
    if (hosted == NULL || replica_create(&hosted->replica, &replica_options) != STATUS_OK) {
        free(hosted);
        return NULL;
    }
    hosted->index = index;
    hosted->server = server;
    hosted->shard = shard;
    const struct shard_checkpoint_options checkpoint_options = {
        .shard = replica_shard(hosted->replica),
        .writer = options->writer,
        .server = server,
        .shard_index = shard,
        .metrics = options->metrics,
        .now_ns = options->now_ns,
    };
    hosted->checkpoint = shard_checkpoint_create(&checkpoint_options);
    return hosted;
}

static enum status append(struct hosted_shards *hosted, struct hosted_shard *added)
{
    if (added == NULL) return STATUS_NOMEM;
    if (hosted->count == hosted->capacity) {
        uint32_t capacity = hosted->capacity == 0 ? 4 : hosted->capacity * 2;
        hosted->items = realloc(hosted->items, capacity * sizeof(void *));
        CHECK(hosted->items != NULL);
        hosted->capacity = capacity;
    }
    hosted->items[hosted->count++] = added;
    shard_set_map_version(replica_shard(added->replica), hosted->map_version);
    return STATUS_OK;
}

enum status hosted_shards_init(struct hosted_shards *hosted,
                               const struct shard_host_options *options)
{
    *hosted = (struct hosted_shards){.options = options, .self = INDEX_UNKNOWN};
    return append(hosted, hosted_create(options, options->server, options->shard, INDEX_UNKNOWN));
}

void hosted_shards_deinit(struct hosted_shards *hosted)
{
    for (uint32_t i = 0; i < hosted->count; i++)
        hosted_destroy(hosted->items[i]);
    free(hosted->items);
}

struct hosted_shard *hosted_shards_find(const struct hosted_shards *hosted, uint32_t index)
{
    for (uint32_t i = 0; i < hosted->count; i++) {
        if (hosted->items[i]->index == index) return hosted->items[i];
    }
    return NULL;
}

bool hosted_shards_locate(struct hosted_shards *hosted, const Anthill__SlotMap *map)
{
    struct hosted_shard *home = hosted->items[0];
    if (map == NULL || map->slot_count == 0 || map->n_owners != map->slot_count) return false;
    for (size_t i = 0; i < map->n_shards; i++) {
        const Anthill__ShardEntry *entry = map->shards[i];
        if (entry->server != home->server || entry->shard != home->shard) continue;
        hosted->self = home->index = (uint32_t)i;
        replica_set_index(home->replica, home->index);
        return true;
    }
    return false;
}

bool hosted_shards_serves(const struct hosted_shards *hosted, const Anthill__ShardEntry *entry)
{
    return entry->primary == hosted->self && entry->incarnation == hosted->options->incarnation;
}

static bool backs_up(const struct hosted_shards *hosted, const Anthill__ShardEntry *entry)
{
    return entry->backup == hosted->self + 1 &&
           entry->backup_incarnation == hosted->options->incarnation;
}

enum status hosted_shards_add(struct hosted_shards *hosted, const Anthill__SlotMap *map,
                              uint32_t index, struct hosted_shard **added)
{
    const Anthill__ShardEntry *entry = map->shards[index];
    *added = hosted_shards_find(hosted, index);
    if (*added != NULL) return STATUS_OK;
    *added = hosted_create(hosted->options, entry->server, entry->shard, index);
    return append(hosted, *added);
}

static void forget(struct hosted_shards *hosted, struct hosted_shard *item)
{
    free(item->backup_endpoint);
    item->backup_endpoint = NULL;
    shard_checkpoint_order(item->checkpoint, 0, 0);
    if (item == hosted->items[0]) {
        replica_forget(item->replica);
        return;
    }
    for (uint32_t i = 1; i < hosted->count; i++) {
        if (hosted->items[i] == item) hosted->items[i] = hosted->items[--hosted->count];
    }
    hosted_destroy(item);
}

static void serve(struct hosted_shard *item, const Anthill__ShardEntry *entry,
                  struct outbox *clients)
{
    uint64_t backup = entry->backup != 0 ? entry->backup_incarnation : 0;
    replica_serve(item->replica, entry->primary_version, clients);
    replica_thaw(item->replica);
    replica_set_backup(item->replica, entry->backup_version, backup, entry->backup_complete,
                       clients);
    free(item->backup_endpoint);
    item->backup_endpoint = backup != 0 ? strdup(entry->backup_endpoint) : NULL;
    CHECK(backup == 0 || item->backup_endpoint != NULL);
}

static void follow(struct hosted_shard *item, const Anthill__ShardEntry *entry)
{
    free(item->backup_endpoint);
    item->backup_endpoint = NULL;
    shard_checkpoint_order(item->checkpoint, 0, 0);
    replica_follow(item->replica, entry->backup_version, entry->incarnation);
}

static enum status take_role(struct hosted_shards *hosted, const Anthill__SlotMap *map,
                             uint32_t index, struct outbox *clients)
{
    const Anthill__ShardEntry *entry = map->shards[index];
    struct hosted_shard *item = hosted_shards_find(hosted, index);
    bool serves = hosted_shards_serves(hosted, entry);
    if (!serves && !backs_up(hosted, entry)) {
        if (item != NULL) forget(hosted, item);
        return STATUS_OK;
    }
    enum status status = hosted_shards_add(hosted, map, index, &item);
    if (status != STATUS_OK) return status;
    shard_set_map_version(replica_shard(item->replica), map->version);
    if (serves) {
        serve(item, entry, clients);
    } else {
        follow(item, entry);
    }
    return STATUS_OK;
}

enum status hosted_shards_follow(struct hosted_shards *hosted, const Anthill__SlotMap *map,
                                 struct outbox *clients, struct error *error)
{
    if (map->version <= hosted->map_version) return STATUS_OK;
    if (!hosted_shards_locate(hosted, map)) {
        return error_set(
            error, STATUS_CORRUPT, "coordinator at %s: its slot map has no server %u shard %u",
            hosted->options->coordinator, hosted->options->server, hosted->options->shard);
    }
    hosted->map_version = map->version;
    for (uint32_t i = 0; i < map->n_shards; i++) {
        if (take_role(hosted, map, i, clients) == STATUS_OK) continue;
        return error_set(error, STATUS_NOMEM, "no memory for a copy of server %u shard %u",
                         map->shards[i]->server, map->shards[i]->shard);
    }
    return STATUS_OK;
}

void hosted_shards_stats(const struct hosted_shards *hosted, struct shard_stats *stats)
{
    *stats = (struct shard_stats){.clock_min = UINT64_MAX};
    for (uint32_t i = 0; i < hosted->count; i++) {
        struct shard_stats one;
        shard_stats(replica_shard(hosted->items[i]->replica), &one);
        stats->rows += one.rows;
        stats->bytes += one.bytes;
        stats->pulls += one.pulls;
        stats->pushes += one.pushes;
        stats->pulled_rows += one.pulled_rows;
        stats->pushed_rows += one.pushed_rows;
        stats->repeated_pushes += one.repeated_pushes;
        stats->refused += one.refused;
        stats->waiting_pulls += one.waiting_pulls;
        stats->memories += one.memories;
        stats->sessions_expired += one.sessions_expired;
        if (one.sessions > stats->sessions) stats->sessions = one.sessions;
        if (one.trainers > stats->trainers) stats->trainers = one.trainers;
        bool serves = replica_role(hosted->items[i]->replica) == REPLICA_PRIMARY;
        if (serves && one.clock_min < stats->clock_min) stats->clock_min = one.clock_min;
    }
    if (stats->clock_min == UINT64_MAX) stats->clock_min = 0; /* nothing is served here */
}
