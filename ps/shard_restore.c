#include "ps/shard_restore.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "ps/checkpoint.h"

struct shard_restore {
    pthread_t thread;
    struct shard *shard;
    char *step_dir;
    Anthill__SlotMap *map;
    uint32_t self;
    atomic_bool done;
    struct error error;
};

static void restore_free(struct shard_restore *restore)
{
    free(restore->step_dir);
    if (restore->map != NULL) anthill__slot_map__free_unpacked(restore->map, NULL);
    free(restore);
}

static void *restore_main(void *context)
{
    struct shard_restore *restore = context;
    restore->error.status = checkpoint_read(restore->shard, restore->step_dir, restore->map,
                                            restore->self, &restore->error);
    atomic_store(&restore->done, true);
    return NULL;
}

enum status shard_restore_begin(struct shard_restore **result, struct shard *shard,
                                const char *step_dir, const Anthill__SlotMap *map, uint32_t self,
                                struct error *error)
{
    struct shard_restore *restore = calloc(1, sizeof *restore);
    if (restore != NULL) {
        restore->shard = shard;
        restore->self = self;
        restore->step_dir = strdup(step_dir);
        restore->map = wire_copy(&map->base);
        if (restore->step_dir != NULL && restore->map != NULL &&
            pthread_create(&restore->thread, NULL, restore_main, restore) == 0) {
            *result = restore;
            return STATUS_OK;
        }
        restore_free(restore);
    }
    return error_set(error, STATUS_NOMEM, "no memory to restore %s", step_dir);
}

bool shard_restore_done(const struct shard_restore *restore)
{
    return atomic_load(&restore->done);
}

enum status shard_restore_end(struct shard_restore *restore, struct error *error)
{
    pthread_join(restore->thread, NULL);
    enum status status = restore->error.status;
    if (status != STATUS_OK && error != NULL) *error = restore->error;
    restore_free(restore);
    return status;
}
