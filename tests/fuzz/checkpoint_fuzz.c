/* A run's checkpoints. Input: a byte, then an archive of their folder. With an odd byte the sizes
 * and checksums in all manifests are those of the files; its other bits say who reads. */
#include <stdio.h>

#include "common/check.h"
#include "ps/checkpoint.h"
#include "tests/fuzz/fuzz.h"

enum { STEPS = 4, SERVERS = 2, SLOTS = 16 };

/* From the oldest step on, since each names the checksums of the one before. */
static void fix_manifests(void)
{
    char name[128];
    for (int step = 1; step <= STEPS; step++) {
        for (int server = 0; server < SERVERS; server++) {
            snprintf(name, sizeof name, "step-%d/server-%d-shard-0/manifest.yaml", step, server);
            fuzz_fix_manifest(name, FUZZ_OF_CHECKPOINT);
        }
        snprintf(name, sizeof name, "step-%d/manifest.yaml", step);
        fuzz_fix_manifest(name, FUZZ_OF_CHECKPOINT);
    }
}

static void read_step(const char *path, uint32_t shards, uint32_t self)
{
    const struct shard_options options = {.incarnation = 1, .session_idle_ns = UINT64_MAX};
    struct error error = {.text = ""};
    struct shard *shard = NULL;
    struct outbox outbox = {0};
    uint32_t owners[SLOTS];
    Anthill__ShardEntry *entries[SERVERS] = {NULL}; /* only their number counts */
    Anthill__SlotMap map = ANTHILL__SLOT_MAP__INIT;
    map.slot_count = map.n_owners = SLOTS;
    map.owners = owners;
    map.n_shards = shards;
    map.shards = entries;
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        owners[slot] = slot * shards / SLOTS;
    CHECK(shard_create(&shard, &options) == STATUS_OK);
    enum status status = checkpoint_read(shard, path, shards == 0 ? NULL : &map, self, &error);
    CHECK(status == STATUS_OK || (error.text[0] != '\0' && shard_table_count(shard) == 0));
    shard_tick(shard, 1, &outbox); /* the shard is one that works */
    outbox_deinit(&outbox);
    shard_destroy(shard);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_input input = {data, bytes};
    uint8_t how = fuzz_byte(&input);
    char name[32];
    const char *folder = fuzz_folder();
    fuzz_unpack(input);
    if (how % 2 == 1) fix_manifests();
    uint64_t latest = checkpoint_latest(folder);
    snprintf(name, sizeof name, "step-%llu", (unsigned long long)(latest == 0 ? 1 : latest));
    uint32_t shards = (how >> 1) % (SERVERS + 1);
    read_step(fuzz_path(name), shards, shards == 0 ? 0 : (how >> 3) % shards);
    return 0;
}
