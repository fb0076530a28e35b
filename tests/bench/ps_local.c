#include "tests/bench/ps_local.h"

#include <stdlib.h>

#include "common/check.h"
#include "ps/pages.h"

#define FILL_KEYS 16384u

static enum status create_rows(struct ps_local_shard *shard, const struct ps_setting *setting,
                               unsigned index, unsigned count, struct error *error)
{
    uint64_t *keys = malloc(FILL_KEYS * sizeof *keys);
    float *rows = malloc((size_t)FILL_KEYS * setting->dim * sizeof *rows);
    enum status status = STATUS_OK;
    CHECK(keys != NULL && rows != NULL);
    for (uint64_t next = index; next < setting->row_count && status == STATUS_OK;) {
        uint32_t some = 0;
        for (; some < FILL_KEYS && next < setting->row_count; next += count)
            keys[some++] = next;
        status = table_pull(shard->table, keys, some, rows, false, error);
    }
    free(keys);
    free(rows);
    return status;
}

static enum status init_shard(struct ps_local_shard *shard, const struct ps_load *load,
                              unsigned index, unsigned count, struct error *error)
{
    const struct ps_setting *setting = &load->setting;
    const size_t floats = (size_t)setting->keys * setting->dim;
    Anthill__OptimizerSpec optimizer;
    Anthill__TableSpec spec;
    *shard = (struct ps_local_shard){.workers = setting->workers,
                                     .in_flight = setting->in_flight,
                                     .bytes = floats * sizeof(float)};
    for (unsigned i = 0; i < setting->in_flight; i++) {
        shard->rows[i] = pages_alloc(shard->bytes);
        shard->grads[i] = pages_alloc(shard->bytes);
        CHECK(shard->rows[i] != NULL && shard->grads[i] != NULL);
        ps_load_fill_grads(shard->grads[i], floats);
    }
    for (unsigned i = 0; i < setting->workers; i++)
        request_stream_init_part(&shard->streams[i], &load->workers[i].stream, index, count);
    ps_load_spec(&spec, &optimizer, setting->dim);
    enum status status = table_create(&shard->table, &spec, error);
    if (status == STATUS_OK) status = create_rows(shard, setting, index, count, error);
    return status;
}

enum status ps_local_init(struct ps_local *local, const struct ps_load *load, struct error *error)
{
    enum status status = STATUS_OK;
    const unsigned count = load->setting.servers * load->setting.shards;
    CHECK(count <= PS_LOCAL_MAX);
    *local = (struct ps_local){.count = 0};
    while (local->count < count && status == STATUS_OK) {
        struct ps_local_shard *shard = &local->shards[local->count];
        status = init_shard(shard, load, local->count++, count, error);
    }
    return status;
}

void ps_local_deinit(struct ps_local *local)
{
    for (unsigned i = 0; i < local->count; i++) {
        struct ps_local_shard *shard = &local->shards[i];
        table_destroy(shard->table);
        for (unsigned j = 0; j < shard->in_flight; j++) {
            pages_free(shard->rows[j], shard->bytes);
            pages_free(shard->grads[j], shard->bytes);
        }
        for (unsigned j = 0; j < shard->workers; j++)
            request_stream_deinit(&shard->streams[j]);
    }
}

static void run_shard(void *context)
{
    struct ps_local_shard *shard = context;
    shard->status = STATUS_OK;
    for (unsigned i = 0; i < shard->workers; i++) {
        const struct request_stream *stream = &shard->streams[i];
        for (unsigned r = 0; r < stream->requests && shard->status == STATUS_OK; r++) {
            const uint64_t *keys = request_stream_keys(stream, r);
            const unsigned place = r % shard->in_flight;
            shard->status = shard->push ? table_push(shard->table, keys, stream->counts[r],
                                                     shard->grads[place], 1.0f, &shard->error)
                                        : table_pull(shard->table, keys, stream->counts[r],
                                                     shard->rows[place], false, &shard->error);
        }
    }
}

enum status ps_local_run(struct ps_local *local, bool push, struct error *error)
{
    void *contexts[PS_LOCAL_MAX];
    for (unsigned i = 0; i < local->count; i++) {
        local->shards[i].push = push;
        contexts[i] = &local->shards[i];
    }
    bench_parallel(run_shard, contexts, local->count);
    for (unsigned i = 0; i < local->count; i++) {
        if (local->shards[i].status == STATUS_OK) continue;
        *error = local->shards[i].error;
        return local->shards[i].status;
    }
    return STATUS_OK;
}
