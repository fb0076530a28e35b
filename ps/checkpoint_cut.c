#include "ps/checkpoint_cut.h"

#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "ps/table.h"
#include "ps/table_spec.h"

#define BLOCK_FLOATS (UINT64_C(1) << 18)
#define STEP_FLOATS  (UINT64_C(1) << 14)

struct cut_table {
    struct checkpoint_cut *cut;
    struct table *table;
    bool open;               /* its cut has not ended */
    uint32_t step_rows;      /* of a step */
    uint64_t rows_left;      /* at most so many are handed over yet */
    struct cut_block *block; /* being filled */
};

struct checkpoint_cut {
    struct checkpoint_plan plan;
    struct cut_table *tables; /* [plan.table_count] */
    uint32_t current;         /* tables before it are done */
    struct cut_block *first, **last;
    bool failed;
};

/* ---- blocks ---- */

void cut_block_destroy(struct cut_block *block)
{
    free(block);
}

/* Room for `rows_left` rows of `floats`, but for no more than a block holds. */
static struct cut_block *block_create(uint32_t table, uint32_t floats, uint64_t rows_left)
{
    uint64_t rows = BLOCK_FLOATS / floats + 1;
    if (rows > rows_left && rows_left > 0) rows = rows_left;
    uint64_t key_bytes = rows * sizeof(uint64_t), float_count = rows * floats;
    struct cut_block *block = malloc(sizeof *block + key_bytes + float_count * sizeof(float));
    if (block == NULL) return NULL;
    *block = (struct cut_block){
        .table = table, .key_capacity = (uint32_t)rows, .float_capacity = float_count};
    block->keys = (uint64_t *)(block + 1);
    block->floats = (float *)(block->keys + rows);
    return block;
}

static void finish_block(struct cut_table *table)
{
    struct checkpoint_cut *cut = table->cut;
    if (table->block == NULL) return;
    *cut->last = table->block;
    cut->last = &table->block->next;
    table->block = NULL;
}

static void put_row(void *context, uint64_t key, const float *stored, uint32_t floats)
{
    struct cut_table *table = context;
    struct checkpoint_cut *cut = table->cut;
    struct cut_block *block = table->block;
    if (cut->failed) return;
    if (block != NULL && (block->key_count == block->key_capacity ||
                          floats > block->float_capacity - block->float_count)) {
        finish_block(table);
        block = NULL;
    }
    if (block == NULL) {
        uint32_t index = (uint32_t)(table - cut->tables);
        block = table->block = block_create(index, floats, table->rows_left);
        cut->failed = block == NULL;
        if (cut->failed) return;
    }
    block->keys[block->key_count++] = key;
    memcpy(block->floats + block->float_count, stored, floats * sizeof *stored);
    block->float_count += floats;
    if (table->rows_left > 0) table->rows_left--;
}

/* ---- the beginning ---- */

static enum status begin_table(struct checkpoint_cut *cut, uint32_t index, struct table *table)
{
    struct cut_table *own = &cut->tables[index];
    struct plan_table *plan = &cut->plan.tables[index];
    const Anthill__TableSpec *spec = table_spec(table);
    const struct row_sink sink = {.context = own, .put = put_row};
    const uint64_t *deleted = NULL;
    bool dense = spec->kind == ANTHILL__TABLE_KIND__TABLE_DENSE;
    uint32_t floats = dense ? DENSE_CHUNK : table_stored_floats(table, 0);
    *own = (struct cut_table){.cut = cut,
                              .table = table,
                              .step_rows = (uint32_t)(STEP_FLOATS / floats + 1),
                              .rows_left = table_row_count(table)};
    plan->spec = wire_copy(&spec->base);
    if (plan->spec == NULL) return STATUS_NOMEM;
    plan->row_floats = dense ? 0 : floats;
    plan->full = cut->plan.base.step == 0;
    table_cut_begin(table, &plan->full, &sink, &deleted, &plan->deleted_count);
    own->open = true;
    if (plan->full) plan->deleted_count = 0;
    if (plan->deleted_count == 0) return STATUS_OK;
    plan->deleted = malloc(plan->deleted_count * sizeof *deleted);
    if (plan->deleted == NULL) return STATUS_NOMEM;
    memcpy(plan->deleted, deleted, plan->deleted_count * sizeof *deleted);
    return STATUS_OK;
}

static enum status begin(struct checkpoint_cut *cut, const struct shard *shard)
{
    struct checkpoint_plan *plan = &cut->plan;
    uint32_t count = shard_table_count(shard);
    cut->last = &cut->first;
    plan->tables = calloc(count + (size_t)1, sizeof *plan->tables);
    cut->tables = calloc(count + (size_t)1, sizeof *cut->tables);
    if (plan->tables == NULL || cut->tables == NULL) return STATUS_NOMEM;
    enum status status = shard_sessions_save(shard, &plan->sessions, &plan->sessions_bytes);
    bool builds = false;
    for (uint32_t i = 0; status == STATUS_OK && i < count; i++) {
        plan->table_count++;
        status = begin_table(cut, i, shard_table(shard, i));
        builds = builds || !plan->tables[i].full;
    }
    if (!builds) plan->base = (struct checkpoint_base){0};
    return status;
}

enum status checkpoint_cut_begin(struct checkpoint_cut **cut, const struct shard *shard,
                                 const struct cut_options *options, struct error *error)
{
    *cut = calloc(1, sizeof **cut);
    enum status status = STATUS_NOMEM;
    if (*cut != NULL) {
        (*cut)->plan = (struct checkpoint_plan){.step = options->step,
                                                .server = options->server,
                                                .shard = options->shard,
                                                .base = options->base};
        status = begin(*cut, shard);
    }
    if (status == STATUS_OK) return status;
    checkpoint_cut_destroy(*cut);
    *cut = NULL;
    return error_set(error, status, "no memory for checkpoint %llu",
                     (unsigned long long)options->step);
}

/* ---- rows ---- */

const struct checkpoint_plan *checkpoint_cut_plan(const struct checkpoint_cut *cut)
{
    return &cut->plan;
}

bool checkpoint_cut_step(struct checkpoint_cut *cut)
{
    if (cut->current == cut->plan.table_count) return true;
    struct cut_table *table = &cut->tables[cut->current];
    if (table_cut_step(table->table, table->step_rows)) {
        table->open = false;
        finish_block(table);
        cut->current++;
    }
    return cut->current == cut->plan.table_count;
}

struct cut_block *checkpoint_cut_take(struct checkpoint_cut *cut)
{
    struct cut_block *block = cut->first;
    if (block == NULL) return NULL;
    cut->first = block->next;
    if (cut->first == NULL) cut->last = &cut->first;
    block->next = NULL;
    return block;
}

bool checkpoint_cut_failed(const struct checkpoint_cut *cut)
{
    return cut->failed;
}

void checkpoint_cut_abandon(struct checkpoint_cut *cut)
{
    for (uint32_t i = 0; i < cut->plan.table_count; i++) {
        struct cut_table *table = &cut->tables[i];
        if (table->open) table_cut_abandon(table->table);
        table->open = false;
        cut_block_destroy(table->block);
        table->block = NULL;
    }
    cut->current = cut->plan.table_count;
    struct cut_block *block;
    while ((block = checkpoint_cut_take(cut)) != NULL)
        cut_block_destroy(block);
}

void checkpoint_cut_destroy(struct checkpoint_cut *cut)
{
    if (cut == NULL) return;
    checkpoint_cut_abandon(cut);
    for (uint32_t i = 0; i < cut->plan.table_count; i++) {
        free(cut->plan.tables[i].deleted);
        if (cut->plan.tables[i].spec != NULL) {
            anthill__table_spec__free_unpacked(cut->plan.tables[i].spec, NULL);
        }
    }
    free(cut->plan.tables);
    free(cut->tables);
    free(cut->plan.sessions);
    free(cut);
}
