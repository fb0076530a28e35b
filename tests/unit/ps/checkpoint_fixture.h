/* Both sides of a checkpoint in one thread: the shard's that takes a cut, and the writer's. */
#ifndef ANTHILL_TESTS_UNIT_PS_CHECKPOINT_FIXTURE_H
#define ANTHILL_TESTS_UNIT_PS_CHECKPOINT_FIXTURE_H

#include "common/file.h"
#include "ps/checkpoint.h"
#include "ps/checkpoint_cut.h"
#include "ps/checkpoint_part.h"
#include "tests/unit/ps/ps_fixture.h"

/* A folder for a test. */
static inline int fixture_set_up(void **state)
{
    char *dir = strdup("/tmp/anthill-checkpoint-XXXXXX");
    if (dir == NULL || mkdtemp(dir) == NULL) return -1;
    *state = dir;
    return 0;
}

static inline int fixture_tear_down(void **state)
{
    struct error error;
    enum status status = file_dir_remove(*state, &error);
    free(*state);
    return status == STATUS_OK ? 0 : -1;
}

static inline void fixture_ok(enum status status, const struct error *error)
{
    if (status != STATUS_OK) fail_msg("%s", error->text);
}

#define FIXTURE_SLOTS 64u

/* Slots in equal shares for `count` shards, at most 8. Good until the next call. */
static inline Anthill__SlotMap *fixture_map_of(uint32_t count)
{
    static Anthill__SlotMap map;
    static uint32_t owners[FIXTURE_SLOTS];
    static Anthill__ShardEntry *entries[8];
    anthill__slot_map__init(&map);
    map.slot_count = map.n_owners = FIXTURE_SLOTS;
    map.owners = owners;
    map.shards = entries; /* only their number counts */
    map.n_shards = count;
    for (uint32_t slot = 0; slot < FIXTURE_SLOTS; slot++)
        owners[slot] = slot * count / FIXTURE_SLOTS;
    return &map;
}

/* Called between two steps of a cut; may use the shard. */
typedef void (*fixture_meanwhile)(void *context);

/* Writes the blocks that there are. */
static inline enum status fixture_write_blocks(struct checkpoint_cut *cut,
                                               struct part_writer *writer, struct error *error)
{
    struct cut_block *block;
    enum status status = STATUS_OK;
    while ((block = checkpoint_cut_take(cut)) != NULL) {
        if (status == STATUS_OK) status = part_writer_put(writer, block, error);
        cut_block_destroy(block);
    }
    return status;
}

/* Writes the part of `server` (shard 0) for checkpoint `step`, on top of `base` (step 0: whole). */
static inline enum status fixture_write_part(const struct shard *shard, const char *dir,
                                             uint64_t step, uint32_t server,
                                             struct checkpoint_base base,
                                             fixture_meanwhile meanwhile, void *context,
                                             struct checkpoint_part *part, struct error *error)
{
    const struct cut_options options = {.step = step, .server = server, .base = base};
    struct checkpoint_cut *cut = NULL;
    struct part_writer *writer = NULL;
    struct part_result result;
    enum status status = checkpoint_cut_begin(&cut, shard, &options, error);
    if (status != STATUS_OK) return status;
    status = part_writer_open(&writer, checkpoint_cut_plan(cut), dir, error);
    bool done = false;
    while (status == STATUS_OK && !done) {
        if (meanwhile != NULL) meanwhile(context);
        done = checkpoint_cut_step(cut);
        status = fixture_write_blocks(cut, writer, error);
    }
    assert_false(checkpoint_cut_failed(cut));
    if (status == STATUS_OK) {
        status = part_writer_close(writer, &result, error);
    } else {
        part_writer_abandon(writer);
    }
    if (status == STATUS_OK) {
        *part = (struct checkpoint_part){.server = server,
                                         .bytes = result.bytes,
                                         .checksum = result.checksum,
                                         .base = checkpoint_cut_plan(cut)->base.step};
    }
    checkpoint_cut_destroy(cut);
    return status;
}

#endif
