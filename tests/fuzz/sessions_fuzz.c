/* sessions.bin of a checkpoint, loaded into a shard of a sparse and a dense table. What loads is
 * saved, and loads again into the same bytes. Input: a byte, then the file. */
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "tests/fuzz/fuzz_tables.h"

static struct shard *shard_of(Anthill__OptimizerKind kind)
{
    const struct shard_options options = {.incarnation = 1, .session_idle_ns = UINT64_MAX};
    struct shard *shard = NULL;
    CHECK(shard_create(&shard, &options) == STATUS_OK);
    fuzz_tables_create(shard, kind);
    return shard;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_input input = {data, bytes};
    struct error error = {.text = ""};
    void *saved = NULL, *again = NULL;
    size_t saved_bytes = 0, again_bytes = 0;
    Anthill__OptimizerKind kind = fuzz_byte(&input) % 7;
    struct shard *shard = shard_of(kind);
    enum status status = shard_sessions_load(shard, input.data, input.bytes, &error);
    CHECK(status == STATUS_OK || error.text[0] != '\0');
    if (status == STATUS_OK) {
        CHECK(shard_sessions_save(shard, &saved, &saved_bytes) == STATUS_OK);
        struct shard *other = shard_of(kind);
        CHECK(shard_sessions_load(other, saved, saved_bytes, &error) == STATUS_OK);
        CHECK(shard_sessions_save(other, &again, &again_bytes) == STATUS_OK);
        CHECK(saved_bytes == again_bytes && memcmp(saved, again, saved_bytes) == 0);
        shard_destroy(other);
    }
    shard_destroy(shard);
    free(saved);
    free(again);
    return 0;
}
